package config

import "time"

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	day     = 24 * time.Hour
	maxInt  = 1<<31 - 1
	noLimit = int64(1) << 50
)

// Schema is the whole grammar. It is built anew on every call, so no caller can change it for another.
func Schema() *Key {
	root := block("", "", "The configuration file.",
		value("schema-version", "SchemaVersion", schemaVersion(), "1.0", "The version of the grammar the file was written for.").deprecated("version"),
		systemSchema(), listenersSchema(), routesSchema(), upstreamsSchema(), filtersSchema(), agentsSchema(),
		limitsSchema(), observabilitySchema(), stackSchema(),
	)
	return root.laterNames("waf", "namespace", "rate-limits", "cache")
}

func systemSchema() *Key {
	return block("system", "System", "Settings of the proxy process itself.",
		value("worker-threads", "WorkerThreads", integer(0, 4096), 0, "Threads that run the proxy's code at the same time; 0 = one per CPU."),
		value("graceful-shutdown-timeout", "GracefulShutdownTimeout", seconds(0, day), 30*time.Second,
			"How long running exchanges may take to finish after a request to stop."),
		value("stream-drain-timeout", "StreamDrainTimeout", seconds(0, day), 20*time.Second,
			"How long answers without an end in sight (calls of gRPC that have begun to answer, text/event-stream) go on after a request to stop. Each ends at some moment between half of this time and all of it: a call with the status 14 (UNAVAILABLE), an event stream as if it were over, so that clients come back elsewhere. WebSockets have a time of their own."),
		value("trace-id-format", "TraceIDFormat", keyword("tinyflake", "uuid").or("uuid4", "uuid", "uuidv4", "uuid"), "tinyflake",
			"The form of request ids: 11 base58 characters that sort by time, or a random UUID."),
		list("trusted-proxies", "TrustedProxies", source(), nil,
			"Peers whose X-Forwarded-*, Forwarded, X-Request-Id and traceparent headers are believed: CIDR blocks, and \"unix\" for all that connect to Unix sockets. From anyone else they are replaced."),
		value("auto-reload", "AutoReload", boolean(), false, "Watch the configuration files and reload when they change. Under the stack, stack.watch does this."),
		value("admin-socket", "AdminSocket", socketPath(), "", "Unix socket of the admin API.").
			unset("proxy.sock in the runtime directory when there is one, else no admin API"),
	).deprecated("server").later(
		Later{"daemon", "run the proxy under the stack or systemd"},
		Later{"pid-file", "run the proxy under the stack or systemd"},
		Later{"user", "set the user in the service manager"},
		Later{"group", "set the group in the service manager"},
		Later{"working-directory", "set the directory in the service manager"},
		Later{"max-connections", "write limits { max-total-connections … }"},
		Later{"route-cache-size", "matching needs no cache: remove the line"},
	)
}

func listenersSchema() *Key {
	listener := items("listener", "Listeners", "ID", identifier(), "One address that accepts clients.",
		value("address", "Address", listenAddress(), nil, "IP address and port, or \"unix:/path\" for a Unix socket. Port 0 lets the kernel choose one. The socket's file gets the mode 0660, so its owner and group may connect; what an earlier process left is replaced, what somebody listens on is not. "+
			"Who connects there has no address: it is \"unix\" in logs and X-Forwarded-For, matches no client-ip, is not counted by max-connections-per-client, and all are one client for algorithms that hash by it.").required(),
		value("protocol", "Protocol", keyword("http", "https").or("h2", "https", "http2", "https").not("h3", "http3"), "http", "What is spoken on the address. `http` is HTTP/1.1, `https` the same and HTTP/2 over TLS; see http2."),
		value("default-route", "DefaultRoute", identifier(), "", "The route of requests that match none.").unset("404"),
		value("request-timeout", "RequestTimeout", seconds(time.Millisecond, day), 60*time.Second, "Time a client has for a whole request, head and body."),
		value("header-timeout", "HeaderTimeout", seconds(time.Millisecond, day), 10*time.Second, "Time a client has from the first byte of a request head to its end, and for the first byte after connecting."),
		value("keepalive-timeout", "KeepaliveTimeout", seconds(time.Millisecond, day), 75*time.Second, "How long a connection may be idle between two requests."),
		value("keepalive-max-requests", "KeepaliveMaxRequests", integer(0, maxInt), 0, "Requests one connection may carry; 0 = any number."),
		value("send-timeout", "SendTimeout", seconds(time.Millisecond, day), 60*time.Second, "How long writing to a client may make no progress."),
		value("min-body-rate", "MinBodyRate", size(0, gib), 100, "Bytes per second a client must keep up, after 5 seconds, in sending a body or reading an answer; 0 = any."),
		value("max-in-flight-requests", "MaxInFlight", integer(1, 10_000_000), nil, "Requests of this listener at work at the same time. More are answered 503.").unset("any number"),
		http2Schema(),
		http3Schema(),
		listenerTLSSchema(),
		proxyProtocolSchema(),
		policiesSchema("Rules of every request that comes in here. A route's own policies count more; its edits of headers are made after these.", [3]string{
			"the upstream's request timeout", "limits.max-body-size", "closed"}),
	).laterNames("namespace").later(Later{"max-concurrent-streams", "write http2 { max-concurrent-streams … }"})
	return block("listeners", "", "The addresses the proxy accepts clients on.", listener).merged()
}

func routesSchema() *Key {
	route := items("route", "Routes", "ID", identifier(), "Which requests match, and what answers them.",
		matchesSchema(),
		value("priority", "Priority", priority(), 50, "Routes of higher priority are tried first: a number, or low 10, normal 50, high 100, critical 1000."),
		value("upstream", "Upstream", identifier(), "", "The upstream that answers. A route has either this or builtin-handler."),
		value("builtin-handler", "BuiltinHandler", keyword("status", "health", "metrics", "not-found", "config", "upstreams").not("cache-purge", "cache-stats"), "",
			"The part of the proxy that answers."),
		list("filters", "Filters", identifier(), nil, "Filters of the route in order; the name of an agent is a filter too.").once(),
		policiesSchema("Rules of this route.", [3]string{
			"the listener's, else the upstream's request timeout", "the listener's, else limits.max-body-size", "the listener's, else closed"}),
		retrySchema(),
		hedgingSchema(),
		fallbackSchema(),
		value("max-in-flight-requests", "MaxInFlight", integer(1, 10_000_000), nil, "Requests of this route at work at the same time. More are answered 503.").unset("any number"),
		webSocketSchema(),
	).laterNames("service-type", "static-files", "static", "api-schema", "inference", "cache", "shadow", "waf-enabled",
		"circuit-breaker", "error-pages", "rate-limit", "redirect", "rewrite", "url-rewrite", "compression", "compress", "namespace").
		later(Later{"websocket-inspection", "give an agent that the route asks the event \"websocket_frame\""})
	return block("routes", "", "Which request goes where.", route).merged()
}

// policiesSchema is the block of a listener or a route; unset says what holds without timeout, max-body-size and failure-mode.
func policiesSchema(doc string, unset [3]string) *Key {
	return block("policies", "Policies", doc,
		headerRulesSchema("request-headers", "RequestHeaders", "Edits of the request's headers before it goes to the upstream."),
		headerRulesSchema("response-headers", "ResponseHeaders", "Edits of the answer's headers before it goes to the client."),
		value("timeout", "Timeout", seconds(time.Millisecond, day), nil, "Time for the whole exchange with the upstream, from the first byte sent to the last received.").unset(unset[0]),
		value("max-body-size", "MaxBodySize", size(1, noLimit), nil, "Largest request body.").unset(unset[1]),
		value("failure-mode", "FailureMode", failureMode(), nil, "What happens to a request when a filter of the route cannot decide: refused (closed) or let through (open).").unset(unset[2]),
	).laterNames("rate-limit", "cache", "buffer-requests", "buffer-responses", "circuit-breaker", "retry-policy", "cors", "compress")
}

func matchesSchema() *Key {
	return block("matches", "Match", "What a request must be like. Values of one kind are alternatives; all kinds present must match. Without matchers a route matches everything.",
		list("path", "Paths", absolutePath(), nil, "The exact path."),
		list("path-prefix", "PathPrefixes", absolutePath(), nil, "Whole segments at the start of the path: /api matches /api and /api/x, not /apix."),
		list("path-regex", "PathRegexes", regex(), nil, "RE2 pattern found anywhere in the path unless it is anchored."),
		list("host", "Hosts", hostPattern(), nil, "The host without its port, in any case; \"*.example.com\" matches everything below example.com."),
		list("method", "Methods", token("method"), nil, "The method."),
		pair("header", "Headers", token("header name"), str(), "A header that is present, or one of whose values is the second argument."),
		pair("query-param", "QueryParams", nonEmpty("name"), str(), "A query parameter that is present, or has the value of the second argument."),
		pair("cookie", "Cookies", token("cookie name"), str(), "A cookie that is present, or has the value of the second argument."),
		list("client-ip", "ClientIPs", prefix(), nil, "CIDR blocks of the client, after trusted proxies."),
	)
}

func headerRulesSchema(name, field, doc string) *Key {
	return block(name, field, doc, headerRuleKeys("")...)
}

// headerRuleKeys are the four edits; at is the path of a HeaderRules from the enclosing value.
func headerRuleKeys(at string) []*Key {
	return []*Key{
		pairs("rename", at+"Rename", editableField(), editableField(), "Gives a header another name: rename { Old \"New\" }. First of the four to be done."),
		pairs("set", at+"Set", editableField(), headerValue(), "Replaces a header, or adds it: set { Name \"value\" }."),
		pairs("add", at+"Add", editableField(), headerValue(), "Adds a value to a header: add { Name \"value\" }.").many(),
		list("remove", at+"Remove", editableField(), nil, "Removes headers: remove \"A\" \"B\". Last of the four to be done."),
	}
}

func failureMode() *Type {
	return keyword("closed", "open").or("fail-closed", "closed", "fail-open", "open")
}

func filtersSchema() *Key {
	filter := items("filter", "Filters", "ID", identifier(), "A step that routes can use by name.",
		value("type", "Type", keyword("agent", "headers").not("rate-limit", "compress", "compression", "cors", "timeout", "log", "geo", "redirect", "url-rewrite"), nil,
			"agent asks agents for verdicts; headers edits headers.").required().asProp(),
		list("agent", "Agent.Agents", identifier(), nil, "Agents to ask, one after the other in this order.").only("agent").required(),
		value("timeout", "Agent.Timeout", millis(time.Millisecond, time.Hour), nil, "Time for each call of this filter.").only("agent").unset("the agent's timeout"),
		value("failure-mode", "Agent.FailureMode", failureMode(), nil, "What happens when an agent cannot decide.").only("agent").unset("the agent's, else that of the policies of route and listener, else closed"),
		value("phase", "Phase", keyword("request", "response", "both"), "", "Whether the filter works on requests, answers or both; of an agent's events it takes those of the phase.").
			unset("request with type `headers`, both with type `agent`"),
		decompressSchema("Agent.Decompress", "How the agents of this filter inspect encoded bodies, instead of what they say themselves.").only("agent").optional(),
	)
	for _, k := range headerRuleKeys("Headers.Rules.") {
		filter.Keys = append(filter.Keys, k.only("headers"))
	}
	filter.laterNames("inspect-body", "max-body-bytes")
	return block("filters", "", "Named steps that routes send their requests through.", filter).merged()
}

func limitsSchema() *Key {
	return block("limits", "Limits", "Hard bounds of the whole proxy.",
		value("max-header-size", "MaxHeaderSize", size(256, mib), 16*kib, "Bytes of a request's or answer's head: first line and headers. More is answered 431 (414 for the first line)."),
		value("max-header-count", "MaxHeaderCount", integer(1, 10_000), 100, "Headers of one request or answer."),
		value("max-body-size", "MaxBodySize", size(1, noLimit), 10*mib, "Bytes of a request body. More is answered 413."),
		value("max-connections-per-client", "MaxConnectionsPerClient", integer(1, 1_000_000), 100, "Open connections of one client address."),
		value("max-total-connections", "MaxTotalConnections", integer(1, 10_000_000), 10_000, "Open connections of all clients."),
		value("max-in-flight-per-client", "MaxInFlightPerClient", integer(1, 10_000_000), nil, "The same for the requests of one client, who is found behind trusted-proxies. Streams of HTTP/2 count like any request.").unset("any number"),
		value("max-in-flight-requests", "MaxInFlightRequests", integer(1, 10_000_000), 10_000, "Requests at work at the same time. More are answered 503."),
		value("max-decompression-memory", "MaxDecompressionMemory", size(64*kib, noLimit), 256*mib, "Bytes that the decoders of all bodies that are decompressed for agents may hold. A body that needs more follows failure-mode."),
	)
}

func observabilitySchema() *Key {
	const buffer = "Records that may wait to be written. When the disk is slower, further records are dropped and counted."
	return block("observability", "Observability", "Metrics and logs.",
		block("metrics", "Metrics", "A listener of its own for metrics. The builtin handler `metrics` serves them on any route without it.",
			value("enabled", "Enabled", boolean(), true, "Open the listener."),
			value("address", "Address", addrPort(), "127.0.0.1:9090", "IP address and port."),
			value("path", "Path", absolutePath(), "/metrics", "The path of the metrics."),
		).optional().laterNames("high-cardinality"),
		block("logging", "", "Logs. Every log is written in the background and opened anew on SIGUSR1.",
			value("level", "Log.Level", keyword("debug", "info", "warn", "error", "off").or("warning", "warn", "trace", "debug"), "info", "The least severe records of the error log that are written."),
			value("format", "Log.Format", keyword("json", "text").or("pretty", "text"), "json", "The form of the error log."),
			value("file", "Log.File", str(), "", "File of the error log.").unset("standard error"),
			value("buffer-size", "Log.BufferSize", integer(1, 1_000_000), 8192, buffer),
			block("access-log", "AccessLog", "One line per exchange.",
				value("enabled", "Enabled", boolean(), true, "Write the log."),
				value("file", "File", str(), "", "File of the log; \"-\" is standard output.").unset("standard output"),
				value("format", "Format", keyword("json", "combined").or("clf", "combined", "common", "combined"), "json", "JSON, or the combined format of web servers."),
				value("buffer-size", "BufferSize", integer(1, 1_000_000), 8192, buffer),
			).laterNames("fields", "sample-rate", "include-trace-id"),
			block("audit-log", "AuditLog", "One line per decision of a filter or agent.",
				value("enabled", "Enabled", boolean(), true, "Write the log."),
				value("file", "File", str(), "", "File of the log; \"-\" is standard output.").unset("standard output"),
				value("buffer-size", "BufferSize", integer(1, 1_000_000), 8192, buffer),
				value("log-blocked", "LogBlocked", boolean(), true, "Write requests that were refused."),
				value("log-agent-decisions", "LogAgentDecisions", boolean(), false, "Also write verdicts that let a request through. What passes because an agent could not decide (failure-mode open) is always written."),
			).laterNames("log-waf-events"),
		).later(Later{"error-log", "write level, format, file and buffer-size in logging itself"}).rewriting(unwrapErrorLog),
	).laterNames("tracing")
}
