package config

import "time"

func agentsSchema() *Key {
	agent := items("agent", "Agents", "Name", identifier(), "A program that is asked for verdicts.",
		value("type", "Type", identifier(), "", "Kind of the agent: the program sentinel-<type> is run unless command says otherwise.").asProp().unset("the agent's name"),
		list("unix-socket", "UnixSockets", socketPath(), nil, "Where the agent listens. Several sockets are as many instances, of an agent that is external as many as somebody else runs.").
			argName("path").once().unset("agents/<name>.sock in the runtime directory, of several instances agents/<name>.1.sock and so on"),
		value("instances", "Instances", integer(1, MaxInstances), 1, "Processes that the stack runs of it: each request goes to the one with the fewest calls at work, and stays with it."),
		value("external", "External", boolean(), false, "Somebody else runs the agent; the stack does not start it."),
		list("events", "Events", events(), []string{"request_headers"}, "What the agent is told about.").once(),
		value("timeout", "Timeout", millis(time.Millisecond, time.Hour), time.Second, "Time for one verdict."),
		value("chunk-timeout", "ChunkTimeout", millis(time.Millisecond, time.Hour), 5*time.Second, "Time for the verdict on a piece of a body."),
		value("failure-mode", "FailureMode", failureMode(), nil, "What happens to a request when the agent cannot decide.").unset("that of the route's policies, else of the listener's, else closed"),
		value("max-concurrent-calls", "MaxConcurrentCalls", integer(1, 100_000), 100, "Calls at work at the same time."),
		value("queue-length", "QueueLength", integer(0, 100_000), 100, "Calls that may wait for their turn."),
		value("queue-timeout", "QueueTimeout", millis(0, time.Minute), 100*time.Millisecond, "How long a call may wait for its turn."),
		value("max-request-body", "MaxRequestBody", size(1, gib), mib, "Bytes of a request body that are sent for inspection. More follows failure-mode."),
		value("max-response-body", "MaxResponseBody", size(1, gib), mib, "Bytes of an answer's body that are sent for inspection. More follows failure-mode."),
		decompressSchema("Decompress", "Bodies with a Content-Encoding (gzip, deflate, br, zstd, or several) are decompressed for the agent; what is passed on stays as it came. What cannot be decompressed within the limits follows failure-mode.").alias("decompression"),
		breakerSchema("After several failures in a row the agent is not asked for a while; requests follow failure-mode at once.", "Probes at the same time."),
		free("config", "ConfigJSON", "The agent's own configuration, given to it as JSON."),
		list("command", "Command", nonEmpty("argument"), nil, "Program and arguments. ${SENTINEL_SOCKET}, ${SENTINEL_AGENT} and ${SENTINEL_RUNTIME_DIR} are filled in when it is started.").
			once().unset("sentinel-<type> beside sentinel-stack, else on PATH"),
		envSchema(), envFileSchema(), passEnvSchema(), secretSchema(), restartSchema().inherits(), readySchema(), stopSchema().inherits(), processLimitsSchema().inherits(),
		sandboxSchema(), userSchema()[0], userSchema()[1],
	).laterNames("grpc", "http", "script", "tls", "tls-insecure", "ca-cert", "client-cert", "client-key",
		"request-body-mode", "response-body-mode", "protocol-version", "pool").rewriting(rewriteAgent)
	return block("agents", "", "The agents that filters and routes ask.", agent).merged()
}

func events() *Type {
	return keyword("request_headers", "request_body", "response_headers", "response_body", "request_complete", "websocket_frame").
		or("log", "request_complete").not("guardrail")
}

func decompressSchema(field, doc string) *Key {
	return block("decompress", field, doc,
		value("enabled", "Enabled", boolean(), true, "Decompress. Without it the agent is sent the bytes as they came."),
		value("max-ratio", "MaxRatio", integer(1, 100_000), 100, "Bytes that each byte sent may become; the first 64 KB of a body are not measured."),
		value("max-size", "MaxSize", size(1, gib), nil, "Bytes that a body may become, in every step when it is encoded several times.").unset("max-request-body-bytes or max-response-body-bytes of the agent"),
	)
}

func envSchema() *Key {
	return pairs("env", "Env", environmentName(), str(), "Environment of the process: env { NAME \"value\" }.")
}

func envFileSchema() *Key {
	return value("env-file", "EnvFile", nonEmpty("path"), "", "File with further NAME=value lines, read when the process is started.").unset("none")
}

func restartSchema() *Key {
	policy := keyword("always", "on-failure", "never")
	return block("restart", "Restart", "What happens when the process ends: restart \"always\" { … }.",
		value("policy", "Policy", policy, "always", "When the process is started again."),
		value("initial-delay", "InitialDelay", millis(0, time.Hour), time.Duration(0), "Delay of the first restart."),
		value("base-delay", "BaseDelay", millis(0, time.Hour), 100*time.Millisecond, "Delay of the second restart; it doubles with each further one."),
		value("max-delay", "MaxDelay", seconds(0, day), 30*time.Second, "Longest delay."),
		value("reset-after", "ResetAfter", seconds(0, day), 30*time.Second, "A process that was ready for so long counts as healthy, and the delays start anew."),
		value("quarantine-after", "QuarantineAfter", integer(0, 100_000), 10, "Failures in a row after which the process is quarantined: it is shown as such and tried again once in max-delay-secs; 0 = never."),
	).argName("policy")
}

func readySchema() *Key {
	return block("ready", "", "When the process counts as ready.",
		value("timeout", "Ready", seconds(time.Millisecond, time.Hour), 10*time.Second, "Time it has to become ready."),
	)
}

func stopSchema() *Key {
	return block("stop", "Stop", "How the process is asked to end.",
		value("signal", "Signal", signal(), "TERM", "The signal that asks."),
		value("timeout", "Timeout", seconds(0, time.Hour), 5*time.Second, "Time it has before it is killed."),
	)
}

func stackSchema() *Key {
	return block("stack", "Stack", "What only the supervisor sentinel-stack uses.",
		value("runtime-dir", "RuntimeDir", absoluteDir(), "", "Directory of sockets and state.").
			unset("$SENTINEL_RUNTIME_DIR, $RUNTIME_DIRECTORY, sentinel in $XDG_RUNTIME_DIR, else a private temporary directory"),
		value("on-supervisor-death", "OnSupervisorDeath", keyword("kill", "keep"), "kill", "What happens to the processes when the supervisor dies: they die with it, or serve on and the next supervisor takes them over."),
		value("shutdown-timeout", "ShutdownTimeout", seconds(0, time.Hour), 30*time.Second, "Time the whole stack has to end."),
		value("watch", "Watch", boolean(), true, "Reload when the configuration files change."),
		value("strict-limits", "StrictLimits", boolean(), false, "A limit of a process that this host cannot enforce by the kernel, and a layer of a sandbox that it does not have, is an error, not a warning."),
		block("proxy", "Proxy", "How the proxy itself is run.",
			list("command", "Command", nonEmpty("argument"), nil, "Program and arguments.").once().unset("sentinel beside sentinel-stack, else on PATH"),
			envSchema(), passEnvSchema(), restartSchema(), readySchema(), stopSchema(), processLimitsSchema(), proxySandboxSchema(),
		).laterNames("instances", "user", "group"),
		block("defaults", "Defaults", "What holds for every agent that does not say otherwise.",
			restartSchema(), stopSchema(), processLimitsSchema(), sandboxSchema(), userSchema()[0], userSchema()[1],
		),
		items("service", "Services", "Name", identifier(), "A further process to run.",
			list("command", "Command", nonEmpty("argument"), nil, "Program and arguments.").once().required(),
			envSchema(), envFileSchema(), passEnvSchema(), secretSchema(), restartSchema(),
			block("ready", "Ready", "When the process counts as ready. Without a probe it is ready once it runs.",
				value("http", "HTTP", probeAddress(true), "", "Answers a GET with a 2xx status: \"127.0.0.1:9100/metrics\".").unset("none"),
				value("tcp", "TCP", probeAddress(false), "", "Accepts a connection: \"127.0.0.1:5432\".").unset("none"),
				list("exec", "Exec", nonEmpty("argument"), nil, "A command that ends with status 0.").once().unset("none"),
				value("notify", "Notify", boolean(), false, "The process says so itself by sd_notify."),
				value("timeout", "Timeout", seconds(time.Millisecond, time.Hour), 10*time.Second, "Time it has to become ready."),
			),
			stopSchema(), processLimitsSchema(), sandboxSchema(), userSchema()[0], userSchema()[1],
		),
		hookSchema(), webhookSchema(),
	)
}
