package protocol

// Version is the protocol version spoken on the wire. It changes only when an older peer would misunderstand; additions are negotiated by
// encodings, features and optional keys instead. History:
//
//	1  before this project: frames without a type byte, one request at a time per connection. Not spoken here.
//	2  2026-11-21: typed frames, multiplexing by correlation id, JSON and msgpack. Compatible additions since then:
//	     2026-11-21  top-level correlation_id in responses; "error" in responses; msgpack as maps; configuration in the handshake and by Configure.
//	     2026-11-27  WebSocketFrame with allow, drop, replace and close; it was reserved before.
const Version = 2
