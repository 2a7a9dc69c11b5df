package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// Close codes that the proxy itself sends (RFC 6455 §7.4.1).
const (
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseInvalidText = 1007
	ClosePolicy      = 1008
	CloseTooBig      = 1009
	CloseInternal    = 1011
	CloseTryLater    = 1013
	CloseNone        = 1005 // a close frame without a code; never on the wire
)

// Error says why a connection must be closed. Values are shared: compare them by pointer or by Reason.
type Error struct {
	Code   int    // close code for both sides
	Reason string // stable snake_case reason for logs and metrics
}

// Error makes an *Error an error; the text is for logs.
func (e *Error) Error() string { return "cannot accept WebSocket frame: " + e.Reason }

var (
	errReservedBits    = &Error{CloseProtocol, "reserved_bits"}
	errOpcode          = &Error{CloseProtocol, "opcode"}
	errMask            = &Error{CloseProtocol, "mask"}
	errLength          = &Error{CloseProtocol, "length"}
	errControlFragment = &Error{CloseProtocol, "control_fragment"}
	errControlLength   = &Error{CloseProtocol, "control_length"}
	errContinuation    = &Error{CloseProtocol, "continuation"}
	errAfterClose      = &Error{CloseProtocol, "after_close"}
	errCloseCode       = &Error{CloseProtocol, "close_code"}
	errCloseReason     = &Error{CloseInvalidText, "close_reason"}
	errText            = &Error{CloseInvalidText, "text"}
	errFrameSize       = &Error{CloseTooBig, "frame_too_large"}
	errMessageSize     = &Error{CloseTooBig, "message_too_large"}
	errFragments       = &Error{ClosePolicy, "too_many_fragments"}
)

// ParseClose reads the payload of a close frame (RFC 6455 §5.5.1). Without a payload the code is CloseNone.
func ParseClose(payload []byte) (code int, reason []byte, err *Error) {
	if len(payload) == 0 {
		return CloseNone, nil, nil
	}
	if len(payload) == 1 {
		return 0, nil, errCloseCode
	}
	code, reason = int(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case !ValidClose(code):
		return 0, nil, errCloseCode
	case !utf8.Valid(reason):
		return 0, nil, errCloseReason
	}
	return code, reason, nil
}

// ValidClose reports whether a code may be on the wire (RFC 6455 §7.4 and IANA's registry): the registered ones but those that only stand for an absent frame, and the ranges of
// libraries and applications.
func ValidClose(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// AppendClose appends the payload of a close frame. A reason that is too long is cut between two runes; a code that may not be on the wire gives an empty payload.
func AppendClose(dst []byte, code int, reason string) []byte {
	if !ValidClose(code) {
		return dst
	}
	if len(reason) > MaxControl-2 {
		n := MaxControl - 2
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}
