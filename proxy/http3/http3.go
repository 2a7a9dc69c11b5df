// Package http3 is what the proxy knows of HTTP/3 (RFC 9114) and QPACK (RFC 9204) below requests: frames, settings and field sections as bytes, and listeners, which are
// QUIC's of quic-go. What a connection does with them is package server's; what a request may say is judged by package http2 and then, like any other, by http1.
//
// There is no dynamic table in either direction, so field sections are independent of each other and no stream waits for another one.
package http3

import "fmt"

// Type is the type of a frame (RFC 9114 §7.2).
type Type uint64

// The types of frames that mean something.
const (
	Data        Type = 0x0
	Headers     Type = 0x1
	CancelPush  Type = 0x3
	Settings    Type = 0x4
	PushPromise Type = 0x5
	GoAway      Type = 0x7
	MaxPushID   Type = 0xd
)

// The types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
const (
	ControlStream = 0x0
	PushStream    = 0x1
	EncoderStream = 0x2
	DecoderStream = 0x3
)

// Code is an error code (RFC 9114 §8.1, RFC 9204 §6).
type Code uint64

// The codes that we send.
const (
	NoError              Code = 0x100
	GeneralProtocolError Code = 0x101
	InternalError        Code = 0x102
	StreamCreationError  Code = 0x103
	ClosedCriticalStream Code = 0x104
	FrameUnexpected      Code = 0x105
	FrameError           Code = 0x106
	ExcessiveLoad        Code = 0x107
	IDError              Code = 0x108
	SettingsError        Code = 0x109
	MissingSettings      Code = 0x10a
	RequestRejected      Code = 0x10b
	RequestCancelled     Code = 0x10c
	RequestIncomplete    Code = 0x10d
	MessageError         Code = 0x10e
	DecompressionFailed  Code = 0x200
	EncoderStreamError   Code = 0x201
	DecoderStreamError   Code = 0x202
)

// Error is what a peer did wrong.
type Error struct {
	Code       Code
	Reason     string // for logs and metrics: a word or two, hyphenated
	Connection bool   // the connection is over, not only the stream
}

func (e *Error) Error() string { return fmt.Sprintf("error %#x: %s", uint64(e.Code), e.Reason) }

// Fatal is an error that ends the connection.
func Fatal(code Code, reason string) *Error { return &Error{code, reason, true} }
