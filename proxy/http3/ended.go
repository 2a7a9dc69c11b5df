package http3

import (
	"errors"

	"github.com/quic-go/quic-go"
)

// Ending is who or what ended a connection.
type Ending uint8

// The endings.
const (
	EndedByUs    Ending = iota // the error says why
	EndedByPeer                // it closed, for whatever reason
	EndedByAlert               // it did not like our part of the handshake
	EndedByTime                // nothing came for too long
)

// EndedBy reads the error of a connection that is over.
func EndedBy(err error) Ending {
	var handshake *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	var transport *quic.TransportError
	var application *quic.ApplicationError
	switch {
	case errors.As(err, &handshake), errors.As(err, &idle):
		return EndedByTime
	case errors.As(err, &transport) && transport.Remote:
		if transport.ErrorCode.IsCryptoError() {
			return EndedByAlert
		}
		return EndedByPeer
	case errors.As(err, &application) && application.Remote:
		return EndedByPeer
	}
	return EndedByUs
}
