package config

import "time"

// HTTP3 says whether a listener speaks HTTP/3, and bounds what its clients can take up with it.
type HTTP3 struct {
	Enabled              bool          // default false
	MaxConcurrentStreams int           // of one connection; default 100
	StreamWindow         int64         // bytes of a request body that may wait to be read; default 64 KiB
	ConnectionWindow     int64         // the same for all streams of a connection; default 1 MiB
	IdleTimeout          time.Duration // without a packet from the client; default 30 s
	AbuseBudget          int           // see its doc; default 300
	ValidateAbove        int           // handshakes; default 64
	AdvertisePort        int           // in Alt-Svc; 0 = the listener's
	AltSvcMaxAge         time.Duration // default 24 h; 0 = no Alt-Svc
}

func http3Schema() *Key {
	return block("http3", "HTTP3", "HTTP/3 on the UDP port beside this listener, which must speak https on an IP address. It serves the same routes with the same certificates and under the same limits and timeouts: each stream counts as a request, the connection as one connection. There is no early data (0-RTT).",
		value("enabled", "Enabled", boolean(), false, "Whether HTTP/3 is spoken. The proxy binds the UDP port itself; while an earlier process still drains on it, it waits for it, and clients are served over TCP."),
		value("max-concurrent-streams", "MaxConcurrentStreams", integer(1, 10_000), 100, "Streams of one connection at work at the same time, those that the client has reset included. More are refused, and their clients try again."),
		value("stream-window", "StreamWindow", size(1<<10, 16*mib), int64(64*kib), "Bytes of one request's body that are held while they cannot be passed on."),
		value("connection-window", "ConnectionWindow", size(64*kib, gib), int64(mib), "The same for all requests of a connection together."),
		value("idle-timeout", "IdleTimeout", seconds(time.Second, day), 30*time.Second, "After how long without a packet from the client a connection is taken for dead. One that is alive but asks for nothing is ended by keepalive-timeout."),
		value("abuse-budget", "AbuseBudget", integer(10, 1_000_000), 300,
			"What a client can do at no cost to itself is paid for from this many tokens a connection, of which a tenth comes back every second: a stream reset, refused or of no known kind and an empty DATA frame each cost 1, frames of no known type half. A client without tokens is disconnected."),
		value("validate-above", "ValidateAbove", integer(0, 1_000_000), 64, "From how many handshakes at work on a client must first show that it receives what is sent to its address (Retry), which costs it a round trip; 0 = always. At tls.max-handshakes clients are refused."),
		value("advertise-port", "AdvertisePort", integer(1, 65535), nil, "The UDP port that Alt-Svc tells clients, when they reach it under another number.").unset("the listener's"),
		value("alt-svc-max-age", "AltSvcMaxAge", seconds(0, 365*day), day, "How long clients may remember that there is HTTP/3 here, as answers tell them in Alt-Svc; 0 = they are not told."),
	)
}
