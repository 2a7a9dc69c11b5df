// Package server accepts connections and walks each request through the request path: head, admission, route, filters, upstream, answer, logs.
//
// # One request
//
// A connection is a goroutine that waits for its socket to become readable; while it waits it holds no buffer. When bytes arrive it takes a work from a
// pool (read buffers for both directions, parsers, one buffer for outgoing heads) and serves every complete request in it. A request whose body is already
// there — most have none — is served inside the readiness callback itself, so that the poller stays armed and no system call is spent on finding out that
// nothing more has come. Larger bodies, upgrades and Expect: 100-continue leave the callback and use blocking reads; a body that does not fit the buffer is
// uploaded by a second goroutine while the first one already relays the answer.
//
// An answer is relayed as it comes, through buffers of fixed size: short ones with the head in one system call, long ones with a known length by splice(2).
//
// # TLS
//
// A connection has one seam for it, the wire: what conn, upload, relay and tunnel read from it and write to it is always plaintext. A wire with a session (see
// sealing in sealed.go) opens and seals on the way to the socket, in the same callbacks; everything above, filters, limits, deadlines, the sweeper, drains, is
// the same code. The session has no socket and never waits: the readiness callback asks it for plaintext, it takes the ciphertext that is there through
// source, and when that is not enough for a record it keeps the part and the callback goes on waiting. So requests over TLS are served inside the callback
// too, an idle connection holds no buffer of ours, and a wire without a session pays one comparison per operation. What differs is in four places: the
// handshake before the first request (handshake.go), the choice of onReady or onReadySealed, splice, which cannot encrypt, and the farewell at the end, without
// which the client would have to take a whole answer for one that was cut off.
//
// The upstream's side has the same wire, whose session is that of the pooled connection.
//
// # HTTP/2
//
// A connection that chose HTTP/2, or began with it, is read by a session (session.go, sessionframes.go): its goroutine is the connection's. Each stream is served
// by a conn of its own whose wire is not a socket but the stream (stream.go), where the request appears as an HTTP/1.1 message and the answer is taken apart again
// into frames. Sessions have their own place in the sweeper (lookSession), streams are swept like connections.
//
// Memory of a connection: its window for all request bodies together (http2 connection-window, 1 MiB), the head of each open stream (limits max-header-size), 128
// KiB of frames to be sent, and per running stream what a connection with HTTP/1.1 needs while it serves a request (two buffers of 16 KiB).
//
// # HTTP/3
//
// ServeQUIC takes connections of QUIC on a UDP socket. A quicSession begins a conn for every stream of a request, as a session does, but reads no frames: the conn's own goroutine pulls
// them from its stream (quicstream.go). What the client says beside requests is read by a goroutine per stream (quiccontrol.go). For the sweeper the session is a socket whose
// deadlines wake it.
//
// # Waiting
//
// No operation sets a deadline of its own. A connection notes in two atomics what it waits for and until when, and one sweeper goroutine looks at all
// connections every quarter of a second: it ends what is overdue, notices clients that went away during an exchange, and enforces the minimum rate.
// Timeouts are therefore late by up to one sweep, never early.
//
// # What is sent upstream
//
// The canonical path (the one that was matched) with the query as received, the end-to-end fields as filters and policies left them, the forwarding fields
// (X-Forwarded-For, -Proto, -Host, -Port, Forwarded, Via, X-Request-Id, traceparent), and our own framing. Forwarding fields of the client survive only when
// the peer is a trusted proxy.
//
// Expect: 100-continue is passed on while the body is still to come. The client is told to continue when the upstream says so, or by us when the upstream has
// said nothing for a second; a final answer instead is relayed and the connection closed.
//
// A client that shuts down its sending side may still read an answer, but cannot be told from one that left: it is waited for halfCloseGrace, then the
// exchange is cancelled. A reset connection cancels at once.
package server
