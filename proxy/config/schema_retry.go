package config

import "time"

func retrySchema() *Key {
	return block("retry-policy", "Retry", "Repeating an exchange that failed before anything was answered, on another target if there is one.",
		value("max-attempts", "MaxAttempts", integer(1, 10), 3, "Attempts in all, the first one included; 1 = no retry."),
		list("retry-on", "On", keyword("connect", "reset", "timeout").or("connect-failure", "connect", "connection-error", "connect", "connection-reset", "reset"), []string{"connect", "reset"},
			"What is repeated: connect = no connection could be had; reset = it broke before the answer began; timeout = the answer did not begin in time.").once(),
		list("retryable-status-codes", "StatusCodes", retryStatus(), nil, "Answers that are not passed on but repeated, while attempts and budget last.").once(),
		list("grpc-codes", "GRPCCodes", grpcCode(), nil, "Answers of gRPC with these status codes, and without any message, that are not passed on but repeated, whatever idempotent-only says. Name only codes with which the server says that it has done nothing.").once(),
		value("timeout", "Timeout", millis(time.Millisecond, day), nil, "Time for one attempt, until its answer begins.").alias("per-try-timeout-ms", "per-try-timeout").unset("the time left for the exchange"),
		value("idempotent-only", "IdempotentOnly", boolean(), true, "Repeat only requests that may be done twice (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), except those that were never sent. With #false a POST may be done twice."),
		value("backoff-base", "BackoffBase", millis(0, time.Minute), 25*time.Millisecond, "The longest wait before an attempt when every target has been tried once; it doubles with each further attempt. The wait is random, from 0 to that; 0 = none. Going on to another target needs no wait."),
		value("backoff-max", "BackoffMax", millis(0, time.Minute), 250*time.Millisecond, "The longest wait before any attempt."),
		value("budget-percent", "BudgetPercent", integer(0, 100), 50, "Share of the upstream's running requests that may be repeated ones at the same time, so that retries do not finish off an upstream in trouble. What never got a connection is not counted."),
		value("budget-min", "BudgetMin", integer(0, 100_000), 10, "Repeated requests at the same time that are allowed however few run."),
		value("replay-buffer", "ReplayBuffer", size(0, 64*mib), 64*kib, "Bytes of a request body that are kept in memory to send it again. A longer one is sent once only; so is every body with a length of at most 16 KB kept anyway."),
	)
}

func hedgingSchema() *Key {
	return block("hedging", "Hedging", "Asking one more target while the answer of the first does not begin; the answer that begins first is passed on, the other request is given up. Only requests that may be repeated, as idempotent-only says, whose body was here before they were sent on; the budget of retry-policy counts them. An answer with one of retryable-status-codes does not win while another target is still at it.",
		value("delay", "Delay", millis(time.Millisecond, time.Minute), nil, "How long an answer may fail to begin before the next target is asked: about what 95 of 100 answers need.").required(),
		value("max-attempts", "MaxAttempts", integer(2, 5), 2, "Targets that may be at a request at the same time, the first included."),
	).optional()
}

// retryStatus is a status that may be a failure.
func retryStatus() *Type {
	t := status()
	t.Min = 400
	return t
}

func fallbackSchema() *Key {
	return block("fallback", "Fallback", "Another upstream that answers when the route's cannot, after all attempts. Only requests that may be repeated get there, as retry-policy says; the attempts there are counted anew.",
		value("fallback-upstream", "Upstream", identifier(), "", "The other upstream.").alias("upstream").required(),
		block("triggers", "", "When it is asked.",
			value("on-health-failure", "OnHealth", boolean(), true, "No target of the route's upstream may be used."),
			value("on-connection-error", "OnConnection", boolean(), true, "No connection could be had, it broke, or the answer did not begin in time."),
			list("on-error-codes", "OnStatus", retryStatus(), nil, "Answers with these status codes.").once(),
		).laterNames("on-budget-exhausted", "on-latency-threshold-ms"),
	).optional().laterNames("max-attempts")
}
