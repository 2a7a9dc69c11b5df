// Package websocket is the WebSocket codec of the proxy (RFC 6455), for both sides and without any I/O: the checks of a handshake, and a reader and writer of
// frames that turn bytes into whole messages and back.
//
// It repairs nothing. What two readers could read differently (a wrong mask bit, a reserved bit or opcode, a length that is not in its shortest form, text that
// is no UTF-8, a fragment out of place) ends the connection with the close code that the RFC names. Extensions are not implemented, so every reserved bit is an
// error: whoever reads frames must have removed the offer of extensions from the handshake.
package websocket
