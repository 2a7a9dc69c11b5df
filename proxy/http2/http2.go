// Package http2 is the HTTP/2 codec of the proxy (RFC 9113), without any I/O: bytes go in, frames and header blocks come out; messages become frames by the
// Append functions. What a session does with them is package server's.
//
// # One judge of requests
//
// A request that came in frames is turned into the head of an HTTP/1.1 message (Block.AppendHead) and goes through the parser of package http1 like any other.
// So there is one set of rules for methods, targets, hosts, fields and lengths, no way around it over HTTP/2, and nothing that an HTTP/1.1 server behind the proxy
// could read in another way. What HTTP/2 adds to the rules is checked here, before: pseudo fields, lower case, fields of one hop, agreement of :authority and Host.
//
// # Bounds
//
// A frame is at most MaxFrame long, both ways. A header block is bounded in bytes, in frames and in what it unpacks to; unpacking stops to keep fields at the bound,
// so a small block that refers to one large field many times costs no memory. Everything a client can do cheaply and often (resets, pings, settings, empty frames,
// tiny window updates) is paid for from a Budget.
package http2

import "fmt"

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	// FrameHeader is the length of a frame's header in bytes.
	FrameHeader = 9
	// MaxFrame is the largest payload we accept and send: the smallest that everybody has to take.
	MaxFrame = 16 << 10
	// InitialWindow is the flow-control window of a new connection and, without SETTINGS, of a new stream, in bytes.
	InitialWindow = 65535
	// MaxWindow is the largest window (RFC 9113 §6.9.1).
	MaxWindow = 1<<31 - 1
	// MaxStreamID is the last number a stream can have.
	MaxStreamID = 1<<31 - 1
)

// Type is the type of a frame.
type Type uint8

// The types of RFC 9113 §6.
const (
	Data         Type = 0
	Headers      Type = 1
	Priority     Type = 2
	RSTStream    Type = 3
	Settings     Type = 4
	PushPromise  Type = 5
	Ping         Type = 6
	GoAway       Type = 7
	WindowUpdate Type = 8
	Continuation Type = 9
)

// Flags of frames.
const (
	FlagAck        = 0x1  // SETTINGS, PING
	FlagEndStream  = 0x1  // DATA, HEADERS
	FlagEndHeaders = 0x4  // HEADERS, CONTINUATION
	FlagPadded     = 0x8  // DATA, HEADERS
	FlagPriority   = 0x20 // HEADERS
)

// Code is an error code (RFC 9113 §7).
type Code uint32

// The codes of RFC 9113 §7.
const (
	NoError            Code = 0
	ProtocolError      Code = 1
	InternalError      Code = 2
	FlowControlError   Code = 3
	SettingsTimeout    Code = 4
	StreamClosed       Code = 5
	FrameSizeError     Code = 6
	RefusedStream      Code = 7
	Cancel             Code = 8
	CompressionError   Code = 9
	ConnectError       Code = 10
	EnhanceYourCalm    Code = 11
	InadequateSecurity Code = 12
	HTTP11Required     Code = 13
)

// Error is what a peer did wrong. With Stream 0 the connection is over, else only that stream.
type Error struct {
	Stream uint32
	Code   Code
	Reason string // for logs and metrics: a word or two, hyphenated
}

func (e *Error) Error() string {
	if e.Stream == 0 {
		return fmt.Sprintf("connection error %d: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("error %d on stream %d: %s", e.Code, e.Stream, e.Reason)
}

// connectionError ends the connection.
func connectionError(code Code, reason string) *Error { return &Error{Code: code, Reason: reason} }

// streamError ends a stream.
func streamError(id uint32, code Code, reason string) *Error {
	return &Error{Stream: id, Code: code, Reason: reason}
}
