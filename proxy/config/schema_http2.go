package config

// HTTP2 says which clients of a listener may speak HTTP/2, and bounds what they can take up with it.
type HTTP2 struct {
	ALPN                 bool  // over TLS, for clients that offer it; default true
	PriorKnowledge       bool  // on a plain listener, for clients that begin with it; default false
	Only                 bool  // nothing else is spoken; default false
	MaxConcurrentStreams int   // of one connection; default 100
	StreamWindow         int64 // bytes of a request body that may wait to be read; default 64 KiB
	ConnectionWindow     int64 // the same for all streams of a connection; default 1 MiB
	AbuseBudget          int   // see its doc; default 300
}

func http2Schema() *Key {
	return block("http2", "HTTP2", "HTTP/2 on this listener. It serves the same routes under the same limits and timeouts as HTTP/1.1: each stream counts as a request, the connection as one connection.",
		value("alpn", "ALPN", boolean(), true, "Whether clients that connect with TLS may choose HTTP/2."),
		value("prior-knowledge", "PriorKnowledge", boolean(), false, "Whether clients of a plain listener may begin with HTTP/2 (h2c). There is no upgrade from HTTP/1.1."),
		value("only", "Only", boolean(), false, "Whether nothing but HTTP/2 is spoken, which the two keys above must allow: a client that begins otherwise is disconnected."),
		value("max-concurrent-streams", "MaxConcurrentStreams", integer(1, 10_000), 100, "Streams of one connection at work at the same time, those that the client has reset included. More are refused, and their clients try again."),
		value("stream-window", "StreamWindow", size(1<<10, 16*mib), int64(64*kib), "Bytes of one request's body that are held while they cannot be passed on."),
		value("connection-window", "ConnectionWindow", size(64*kib, gib), int64(mib), "The same for all requests of a connection together."),
		value("abuse-budget", "AbuseBudget", integer(10, 1_000_000), 300,
			"What a client can do at no cost to itself is paid for from this many tokens a connection, of which a tenth comes back every second: a stream reset or refused, a ping, an empty frame each cost 1, SETTINGS 2, priorities and tiny window updates less. A client without tokens is disconnected."),
	)
}
