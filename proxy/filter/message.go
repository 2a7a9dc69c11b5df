package filter

import "github.com/sentinel-stack/sentinel/proxy/websocket"

// Message is what one side of a WebSocket sends: a message, its fragments put together, or a control frame, which has at most 125 bytes.
type Message struct {
	Opcode     websocket.Opcode // no continuation
	FromClient bool
	Data       []byte // valid until the call returns
	Index      uint64 // of what this side sent, from 0
	replaced   bool
}

// Replace makes the message go on with other bytes, which nobody changes afterwards.
func (m *Message) Replace(data []byte) { m.Data, m.replaced = data, true }

// Replaced reports whether Replace was called.
func (m *Message) Replaced() bool { return m.replaced }

// MessageAction is what becomes of a message.
type MessageAction uint8

// The zero action is none of these, so that a filter that forgets to decide lets nothing pass.
const (
	undecidedMessage MessageAction = iota
	PassMessage                    // with what Replace made of it
	DropMessage                    // it is not passed on
	CloseSocket                    // the WebSocket ends, for both sides
)

// MessageDecision is what a filter says of a message. Build it with Pass, Drop or CloseWith.
type MessageDecision struct {
	Action  MessageAction
	Code    int     // of a close (RFC 6455 §7.4)
	Text    string  // of a close, for the peers
	Verdict Verdict // for the audit log; the zero Verdict leaves no trace there
}

// Pass lets the message go on.
func Pass() MessageDecision { return MessageDecision{Action: PassMessage} }

// Drop keeps the message from going on.
func Drop() MessageDecision { return MessageDecision{Action: DropMessage} }

// CloseWith ends the WebSocket with a code and a text for both sides.
func CloseWith(code int, text string) MessageDecision {
	return MessageDecision{Action: CloseSocket, Code: code, Text: text}
}

// MessageFilter is a Filter that takes part in OnMessage: every message and control frame of a WebSocket, of both directions, one at a time. It is not passed on before the
// call returns.
type MessageFilter interface {
	Message(x *Exchange, m *Message) MessageDecision
}

// Message runs a message through the chain, each filter seeing what the one before made of it. What is to be written down is given to note, which is called before Message returns.
func (c *Chain) Message(x *Exchange, m *Message, note func(*Verdict)) MessageDecision {
	for i := range c.message {
		d := c.message[i].f.Message(x, m)
		if d.Action == undecidedMessage || d.Action > CloseSocket {
			d = CloseWith(websocket.CloseInternal, "")
			d.Verdict = Verdict{Agent: c.message[i].name, Event: "websocket_frame", Action: "close", Error: "filter returned an unusable decision"}
		}
		if d.Verdict.Action != "" {
			note(&d.Verdict)
		}
		if d.Action != PassMessage {
			return d
		}
	}
	return Pass()
}
