package config

import "time"

func upstreamsSchema() *Key {
	target := items("target", "Targets", "Address", targetAddress(), "One server: a host and a port, or \"unix:/path\" for one that listens on a Unix socket. A request without a Host header gets the address as one, localhost when it is a path. The address may also be written as address=\"host:port\" or as a child.",
		value("weight", "Weight", integer(0, 10_000), 1, "Share of the requests with the algorithms that weigh; 0 = no new requests.").asProp(),
		value("zone", "Zone", nonEmpty("name"), "", "Where the server is, for `load-balancing \"locality-aware\"`.").asProp(),
	).argName("address").alias("address").laterNames("max-requests", "metadata")
	upstream := items("upstream", "Upstreams", "ID", identifier(), "A pool of servers that answer alike.",
		target,
		discoverySchema(),
		balancingSchema(),
		healthCheckSchema(),
		outliersSchema(),
		breakerSchema("After several failures in a row a target gets no requests for a while, then a few probes: when they succeed it is back. Failures are attempts without a complete answer, answers with a 5xx status, and calls of gRPC that end with INTERNAL, UNAVAILABLE or DATA_LOSS.",
			"Probes at the same time.").optional(),
		block("timeouts", "Timeouts", "How long each phase with a target may take.",
			value("connect", "Connect", seconds(time.Millisecond, day), 10*time.Second, "Opening a connection, or waiting for a free one."),
			value("request", "Request", seconds(time.Millisecond, day), 60*time.Second, "The whole exchange."),
			value("read", "Read", seconds(time.Millisecond, day), 30*time.Second, "No progress reading."),
			value("write", "Write", seconds(time.Millisecond, day), 30*time.Second, "No progress writing."),
			value("tunnel-idle", "TunnelIdle", seconds(time.Millisecond, 30*day), time.Hour,
				"How long nothing may move in either direction through an upgraded connection (WebSocket) before it is closed. The other timeouts do not apply to it."),
		),
		block("connection-pool", "Pool", "Connections to each target.",
			value("max-connections", "MaxConnections", integer(1, 1_000_000), 1024, "Connections per target, busy and idle together."),
			value("max-idle", "MaxIdle", integer(0, 1_000_000), 256, "Connections per target that are kept open when they are not needed."),
			value("idle-timeout", "IdleTimeout", seconds(time.Millisecond, day), 60*time.Second, "How long a connection may be idle."),
			value("max-lifetime", "MaxLifetime", seconds(0, 30*day), nil, "Age at which a connection is not used again.").unset("any age"),
			value("queue-length", "QueueLength", integer(1, 1_000_000), nil, "Requests that may wait for a connection of a target when all are busy. More are answered 503.").unset("max-connections, at least 16"),
			value("queue-timeout", "QueueTimeout", millis(time.Millisecond, day), nil, "How long such a request waits before it is answered 503.").unset("timeouts.connect"),
		),
		upstreamTLSSchema(),
		httpVersionSchema(),
		sendProxyProtocolKey(),
	).later(Later{"sticky", `write load-balancing "sticky" { … }`}).rewriting(unwrapTargets)
	return block("upstreams", "", "The servers behind the proxy.", upstream).merged()
}

func breakerSchema(doc, probes string) *Key {
	return block("circuit-breaker", "Breaker", doc,
		value("failure-threshold", "Failures", integer(1, 100_000), 5, "Failures in a row that open the circuit."),
		value("success-threshold", "Successes", integer(1, 100_000), 2, "Successes of probes that close it again."),
		value("timeout", "OpenFor", seconds(time.Millisecond, day), 30*time.Second, "How long it stays open before probes are let through."),
		value("half-open-max-requests", "HalfOpen", integer(1, 100_000), 1, probes),
	)
}

func healthCheckSchema() *Key {
	return block("health-check", "HealthCheck", "Asks every target regularly whether it works. A target that fails gets no requests until it works again.",
		value("type", "Type", keyword("http", "tcp", "tls", "grpc").not("inference"), nil, "http sends a GET request, tcp opens a connection, tls does a handshake as well, grpc asks grpc.health.v1.Health over HTTP/2.").required(),
		value("path", "Path", absoluteTarget(), "/health", "What is asked for.").only("http"),
		value("host", "Host", hostHeader(), "", "The Host header.").only("http").unset("the target's address, localhost for a Unix socket"),
		pairs("headers", "Headers", editableField(), headerValue(), "More headers of each check: headers { Name \"value\" }.").only("http"),
		list("expected-status", "ExpectedStatus", status(), []int{200}, "Status codes that mean healthy.").only("http").once(),
		value("expected-body", "ExpectedBody", nonEmpty("text"), "", "A text that the first 64 KB of the answer's body must hold, in this very spelling.").only("http").unset("any body"),
		value("service", "Service", grpcService(), "", "The service that is asked about.").only("grpc").unset("the server as a whole"),
		value("interval", "Interval", seconds(10*time.Millisecond, day), 10*time.Second, "Time between two checks of a target."),
		value("jitter-percent", "Jitter", integer(0, 50), 10, "By how much of the interval each wait is longer or shorter at random, so that many proxies do not check at the same moment."),
		value("timeout", "Timeout", seconds(time.Millisecond, day), 5*time.Second, "Time one check may take."),
		value("healthy-threshold", "HealthyThreshold", integer(1, 1000), 2, "Checks in a row that must succeed before a failed target gets requests again."),
		value("unhealthy-threshold", "UnhealthyThreshold", integer(1, 1000), 3, "Checks in a row that must fail before a target gets no more requests."),
	).optional().laterNames("endpoint", "expected-models", "readiness").rewriting(flattenHealthCheck)
}

func outliersSchema() *Key {
	return block("outlier-detection", "Outliers", "Takes a target out for a while when its answers to live requests are worse than those of the others. Failures are attempts without a complete answer, answers with a 5xx status, and calls of gRPC that end with INTERNAL, UNAVAILABLE or DATA_LOSS.",
		value("consecutive-errors", "ConsecutiveErrors", integer(0, 100_000), 5, "Failures in a row that take a target out; 0 = any number."),
		value("interval", "Interval", seconds(100*time.Millisecond, time.Hour), 10*time.Second, "Time between two comparisons of the targets."),
		value("min-requests", "MinRequests", integer(1, 1_000_000), 20, "Requests of an interval without which a target is neither judged nor compared with."),
		value("success-rate-gap", "SuccessRateGap", integer(0, 100), 30, "A target whose share of successes is so many percentage points below the median is taken out; 0 = never."),
		value("latency-factor", "LatencyFactor", integer(0, 1000), 0, "A target whose mean time to the head of an answer is so many times the median is taken out; 0 = never."),
		value("latency-floor", "LatencyFloor", millis(0, time.Hour), 100*time.Millisecond, "A target that answers faster than this is never too slow."),
		value("ejection-time", "EjectionTime", seconds(10*time.Millisecond, day), 30*time.Second, "How long a target is out the first time; the second time twice, the third time thrice as long, and so on until it has behaved."),
		value("max-ejection-time", "MaxEjectionTime", seconds(10*time.Millisecond, day), 5*time.Minute, "The longest time a target is out."),
		value("max-ejection-percent", "MaxEjected", integer(0, 100), 50, "Share of the targets that may be out at the same time. A pool of one target never loses it."),
	).optional()
}
