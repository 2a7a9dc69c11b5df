package websocket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Refusal says why a handshake was refused. Values are shared: compare them by pointer or by Code.
type Refusal struct {
	Status int    // status to answer the client with
	Code   string // stable snake_case reason for logs and metrics
}

// Error makes a *Refusal an error; the text is for logs, never for the client.
func (r *Refusal) Error() string { return "cannot accept WebSocket handshake: " + r.Code }

// Refusals of a client's request.
var (
	ErrKey        = &Refusal{400, "websocket_key"}
	ErrVersion    = &Refusal{400, "websocket_version"}
	ErrProtocols  = &Refusal{400, "websocket_protocols"}
	ErrExtensions = &Refusal{400, "websocket_extensions"}
)

// Refusals of an upstream's answer.
var (
	ErrAccept          = &Refusal{502, "upstream_websocket_accept"}
	ErrAnsweredProto   = &Refusal{502, "upstream_websocket_protocol"}
	ErrAnsweredExtends = &Refusal{502, "upstream_websocket_extension"}
)

// CheckRequest checks the fields of a client's request to upgrade (RFC 6455 §4.2.1): exactly one key of 16 bytes, exactly version 13, and lists of subprotocols
// and extensions that keep to their grammar.
func CheckRequest(fields []http1.Field) *Refusal {
	keys, versions := 0, 0
	for i := range fields {
		f := &fields[i]
		switch f.ID {
		case http1.SecWebSocketKey:
			if keys++; keys > 1 || !validKey(f.Value) {
				return ErrKey
			}
		case http1.SecWebSocketVersion:
			if versions++; versions > 1 || string(f.Value) != "13" {
				return ErrVersion
			}
		case http1.SecWebSocketProtocol:
			if !eachProtocol(f.Value, func([]byte) bool { return true }) {
				return ErrProtocols
			}
		case http1.SecWebSocketExtensions:
			if !eachExtension(f.Value, func([]byte) bool { return true }) {
				return ErrExtensions
			}
		}
	}
	switch {
	case versions == 0:
		return ErrVersion
	case keys == 0:
		return ErrKey
	}
	return nil
}

// CheckAnswer checks the fields of an upstream's 101 against those of the request that it answers (RFC 6455 §4.1): it must prove that it read the key, and may
// choose only from the subprotocols and extensions that it was offered.
func CheckAnswer(asked, answered []http1.Field) *Refusal {
	accepts, protocols := 0, 0
	for i := range answered {
		f := &answered[i]
		switch f.ID {
		case http1.SecWebSocketAccept:
			if accepts++; accepts > 1 || !proves(asked, f.Value) {
				return ErrAccept
			}
		case http1.SecWebSocketProtocol:
			if protocols++; protocols > 1 || !offered(asked, http1.SecWebSocketProtocol, f.Value) {
				return ErrAnsweredProto
			}
		case http1.SecWebSocketExtensions:
			if !eachExtension(f.Value, func(name []byte) bool { return offered(asked, http1.SecWebSocketExtensions, name) }) {
				return ErrAnsweredExtends
			}
		}
	}
	if accepts == 0 {
		return ErrAccept
	}
	return nil
}

// AppendAccept appends the value of Sec-WebSocket-Accept that answers a key.
func AppendAccept(dst, key []byte) []byte {
	h := sha1.New()
	h.Write(key)
	h.Write([]byte("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.AppendEncode(dst, h.Sum(nil))
}

func proves(asked []http1.Field, accept []byte) bool {
	for i := range asked {
		if asked[i].ID == http1.SecWebSocketKey {
			return bytes.Equal(accept, AppendAccept(nil, asked[i].Value))
		}
	}
	return false
}

func validKey(key []byte) bool {
	var b [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(b[:], key)
	return err == nil && n == 16
}

// offered reports whether a list of the request has the name. Subprotocols are compared byte by byte, as browsers do; extensions as well.
func offered(asked []http1.Field, id http1.FieldID, name []byte) bool {
	each := eachProtocol
	if id == http1.SecWebSocketExtensions {
		each = eachExtension
	}
	found := false
	for i := range asked {
		if asked[i].ID == id {
			each(asked[i].Value, func(one []byte) bool {
				found = found || bytes.Equal(one, name)
				return true
			})
		}
	}
	return found
}
