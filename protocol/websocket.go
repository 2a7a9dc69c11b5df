package protocol

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Opcode is the kind of a WebSocket frame (RFC 6455 §11.8).
type Opcode uint8

// Opcodes of RFC 6455. Our proxy puts messages that came in several frames together, so there is no continuation; a foreign one may send some.
const (
	OpContinuation Opcode = 0x0

	OpText   Opcode = 0x1
	OpBinary Opcode = 0x2
	OpClose  Opcode = 0x8
	OpPing   Opcode = 0x9
	OpPong   Opcode = 0xA
)

// String is the opcode's name on the wire.
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "unknown"
}

// IsControl reports whether it is a close, ping or pong frame. Their payload is at most 125 bytes.
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

// ParseOpcode is String reversed; ok is false for a name that is none.
func ParseOpcode(name []byte) (o Opcode, ok bool) {
	for _, o := range [...]Opcode{OpContinuation, OpText, OpBinary, OpClose, OpPing, OpPong} {
		if o.String() == string(name) {
			return o, true
		}
	}
	return 0, false
}

// WebSocketFrame is one message, or one control frame, of a WebSocket. It carries the correlation id of the request that asked for the WebSocket, and enough to be judged
// without that request having been seen.
type WebSocketFrame struct {
	CorrelationID string
	Opcode        Opcode
	Fragment      bool   // not the end of its message; a handler of the SDK never gets one
	Data          []byte // unmasked and not compressed
	FromClient    bool
	Index         uint64 // of the messages and control frames of this side, from 0
	RouteID       string
	ClientIP      string
}

// SocketAction is what becomes of a message of a WebSocket.
type SocketAction uint8

// Socket actions. A verdict without one lets the message pass.
const (
	SocketAllow   SocketAction = iota
	SocketDrop                 // it is not passed on; the sender is not told
	SocketReplace              // it is passed on with other data
	SocketClose                // the WebSocket is closed, for both sides
)

// String is the action's name on the wire.
func (a SocketAction) String() string {
	switch a {
	case SocketAllow:
		return "allow"
	case SocketDrop:
		return "drop"
	case SocketReplace:
		return "replace"
	case SocketClose:
		return "close"
	}
	return "unknown"
}

// SocketVerdict is the part of a verdict that answers a WebSocketFrame.
type SocketVerdict struct {
	Action SocketAction
	Data   []byte // replace
	Code   int    // close: a code that may be on the wire (RFC 6455 §7.4), such as 1008
	Reason string // close: at most 123 bytes of UTF-8
}

// DropMessage keeps a message from being passed on. A close frame cannot be dropped.
func DropMessage() Verdict {
	return Verdict{Action: ActionAllow, Socket: &SocketVerdict{Action: SocketDrop}}
}

// ReplaceMessage passes a text or binary message on with other data. Control frames cannot be replaced.
func ReplaceMessage(data []byte) Verdict {
	if data == nil {
		data = []byte{}
	}
	return Verdict{Action: ActionAllow, Socket: &SocketVerdict{Action: SocketReplace, Data: data}}
}

// CloseSocket closes the WebSocket with a code and a reason, which both sides are told.
func CloseSocket(code int, reason string) Verdict {
	return Verdict{Action: ActionAllow, Socket: &SocketVerdict{Action: SocketClose, Code: code, Reason: reason}}
}

// Check says why a verdict on f cannot be carried out: a control frame cannot be replaced and a close frame not dropped, text must be UTF-8, and the code and the reason of
// a close must be such as may be on the wire.
func (f *WebSocketFrame) Check(v *SocketVerdict) error {
	switch {
	case v.Action == SocketReplace && f.Opcode.IsControl():
		return fmt.Errorf("cannot replace a %s frame", f.Opcode)
	case v.Action == SocketReplace && f.Opcode == OpText && !utf8.Valid(v.Data):
		return errors.New("cannot replace a text message by what is not UTF-8")
	case v.Action == SocketReplace && len(v.Data) > MaxChunk:
		return errors.New("cannot replace a message by one that is beyond a limit of the protocol")
	case v.Action == SocketDrop && f.Opcode == OpClose:
		return errors.New("cannot drop a close frame")
	case v.Action == SocketClose && !validClose(v.Code):
		return fmt.Errorf("cannot close a WebSocket with code %d", v.Code)
	case v.Action == SocketClose && (len(v.Reason) > MaxCloseReason || !utf8.ValidString(v.Reason)):
		return errors.New("cannot close a WebSocket: the reason is too long, or no UTF-8")
	}
	return nil
}

// validClose reports whether an endpoint may send the code (RFC 6455 §7.4).
func validClose(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
