package observe

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns the handles into Prometheus metrics when somebody asks. Nothing of it runs on the request path.
type collector struct {
	m     *Metrics
	descs []*prometheus.Desc

	socketsOpen, socketsTotal, socketMessages, socketDecisions, socketCloses                                                          *prometheus.Desc
	requests, duration, inFlight, blocked, retries, bytesIn, bytesOut                                                                 *prometheus.Desc
	connections, open, refused                                                                                                        *prometheus.Desc
	handshakes, handshakeFailures, handshakesActive, handshakeTime, certificateEnd, staples, issued, hooked                           *prometheus.Desc
	targetRequests, targetFailures, targetActive, targetIdle, targetOpen, targetWaiting                                               *prometheus.Desc
	targetConnect, targetReused, targetStale, targetHealth, targetEjected, targetRestored, targetBad                                  *prometheus.Desc
	targetSessions, targetUnprocessed, targetViolations                                                                               *prometheus.Desc
	targetShakes                                                                                                                      *prometheus.Desc
	targetOut, targetOutliers, targetKept, targetCircuit, targetOpens                                                                 *prometheus.Desc
	upstreamPanic, upstreamPanics, retriesRefused, statusRetries, hedges, hedgeWins, fallbacks                                        *prometheus.Desc
	agentCalls, agentDuration, agentErrors, agentTimeouts, agentFailOpens, agentDecisions                                             *prometheus.Desc
	unpackIn, unpackOut, notUnpacked                                                                                                  *prometheus.Desc
	instanceCalls, instanceErrors, instanceCircuit, instanceOpens, instanceInFlight, instanceUp                                       *prometheus.Desc
	agentCircuit, agentOpens, agentQueued, agentInFlight, agentUp                                                                     *prometheus.Desc
	logWritten, logDropped, logErrors                                                                                                 *prometheus.Desc
	http3Errors, http3Streams, http3Connections                                                                                       *prometheus.Desc
	limits, refusals, http2Errors, streams, discoveryErrors, discovered, generation, reloads, lastReload, reloadOK, build, uptime, up *prometheus.Desc
}

func newCollector(m *Metrics) *collector {
	c := &collector{m: m}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("sentinel_"+name, help, labels, nil)
		c.descs = append(c.descs, d)
		return d
	}
	c.requests = desc("requests_total", "Finished exchanges. Status 0 means closed without an answer.", "route", "method", "status")
	c.duration = desc("request_duration_seconds", "Time from the first byte of a request to the last byte of its answer.", "route")
	c.inFlight = desc("requests_in_flight", "Exchanges under way.", "route")
	c.blocked = desc("blocked_requests_total", "Exchanges that a filter or a limit answered instead of the upstream, by reason.", "route", "reason")
	c.retries = desc("upstream_retries_total", "Attempts beyond the first of an exchange.", "route")
	c.bytesIn = desc("request_body_bytes_total", "Body bytes received from clients.", "route")
	c.socketsOpen = desc("websockets_open", "WebSockets open now, those whose handshake is under way included.", "route")
	c.socketsTotal = desc("websockets_total", "WebSockets that were opened.", "route")
	c.socketMessages = desc("websocket_messages_total", "Messages and control frames of WebSockets that were looked at, by the side that sent them.", "route", "from", "kind")
	c.socketDecisions = desc("websocket_decisions_total", "What filters said of messages of WebSockets.", "route", "decision")
	c.socketCloses = desc("websocket_closes_total", "WebSockets that the proxy ended, by reason.", "route", "reason")
	c.bytesOut = desc("response_body_bytes_total", "Body bytes sent to clients.", "route")

	c.connections = desc("connections_total", "Connections accepted.", "listener")
	c.open = desc("open_connections", "Client connections open now.", "listener")
	c.refused = desc("connections_refused_total", "Connections closed at accept because of a limit.", "listener", "limit")

	c.handshakes = desc("tls_handshakes_total", "TLS handshakes that succeeded.", "listener", "version", "resumed")
	c.handshakeFailures = desc("tls_handshake_failures_total", "TLS handshakes that did not succeed, by reason.", "listener", "reason")
	c.handshakesActive = desc("tls_handshakes_in_progress", "TLS handshakes under way.", "listener")
	c.handshakeTime = desc("tls_handshake_duration_seconds", "Time of a TLS handshake, without the wait for its turn.", "listener")
	c.certificateEnd = desc("tls_certificate_expiry_timestamp_seconds", "When a certificate of a listener expires.", "listener", "name", "key")

	c.issued = desc("acme_certificates_total", "Certificates that an ACME server was asked for, by the first domain and result.", "listener", "name", "result")
	c.hooked = desc("acme_webhook_requests_total", "Requests to webhooks that put proofs for an ACME server into a zone, by action and result.", "listener", "action", "result")
	c.staples = desc("tls_ocsp_answers_total", "OCSP answers asked for about certificates of a listener, by result.", "listener", "result")

	c.targetRequests = desc("upstream_requests_total", "Attempts on a target.", "upstream", "target")
	c.targetFailures = desc("upstream_failures_total", "Failed attempts on a target, by kind.", "upstream", "target", "kind")
	c.targetActive = desc("upstream_active_requests", "Exchanges a target works on now.", "upstream", "target")
	c.targetIdle = desc("upstream_idle_connections", "Pooled connections to a target now.", "upstream", "target")
	c.targetOpen = desc("upstream_open_connections", "Connections to a target now, idle and busy.", "upstream", "target")
	c.targetWaiting = desc("upstream_waiting_requests", "Exchanges that wait for a connection to a target.", "upstream", "target")
	c.targetConnect = desc("upstream_connect_duration_seconds", "Time to open a connection to a target.", "upstream", "target")
	c.targetReused = desc("upstream_connections_reused_total", "Attempts on a pooled connection.", "upstream", "target")
	c.targetStale = desc("upstream_stale_connections_total", "Pooled connections found closed, or with unasked bytes, when they were to be used.", "upstream", "target")
	c.targetShakes = desc("upstream_tls_handshakes_total", "TLS handshakes with a target that succeeded.", "upstream", "target", "resumed")
	c.targetSessions = desc("upstream_http2_connections", "Connections with HTTP/2 to a target now.", "upstream", "target")
	c.targetUnprocessed = desc("upstream_http2_unprocessed_total", "Requests that a target refused, or left behind when it closed its connection, without looking at them.", "upstream", "target")
	c.targetViolations = desc("upstream_http2_violations_total", "Connections that ended because a target broke HTTP/2.", "upstream", "target")
	c.targetHealth = desc("upstream_target_healthy", "1 healthy, 0 ejected, absent while unknown.", "upstream", "target")
	c.targetEjected = desc("upstream_ejections_total", "How often health checks ejected a target.", "upstream", "target")
	c.targetRestored = desc("upstream_restores_total", "How often health checks restored a target.", "upstream", "target")
	c.targetBad = desc("upstream_health_check_failures_total", "Health checks that failed.", "upstream", "target")

	c.targetOut = desc("upstream_target_ejected", "1 while the target is out as an outlier.", "upstream", "target")
	c.targetOutliers = desc("upstream_outlier_ejections_total", "How often live traffic ejected a target, by reason.", "upstream", "target", "reason")
	c.targetKept = desc("upstream_outliers_kept_total", "Outliers that were not ejected because too many targets were out.", "upstream", "target")
	c.targetCircuit = desc("upstream_circuit_state", "Circuit of a target: 0 closed, 1 half-open, 2 open; absent when none is configured.", "upstream", "target")
	c.targetOpens = desc("upstream_circuit_opens_total", "How often the circuit of a target opened.", "upstream", "target")

	c.upstreamPanic = desc("upstream_panic", "1 while so few targets are healthy that health does not count.", "upstream")
	c.upstreamPanics = desc("upstream_panics_total", "How often that began.", "upstream")
	c.retriesRefused = desc("upstream_retries_refused_total", "Retries that the budget did not allow.", "upstream")
	c.statusRetries = desc("upstream_status_retries_total", "Answers that were not passed on but repeated because of their status.", "upstream")
	c.discoveryErrors = desc("upstream_discovery_errors_total", "Attempts to find targets that found nothing that could be taken over.", "upstream")
	c.discovered = desc("upstream_discovered_timestamp_seconds", "When targets were found last, as Unix time; 0 = never.", "upstream")
	c.hedges = desc("upstream_hedges_total", "Further targets that were asked while the answer of the first did not begin.", "upstream")
	c.hedgeWins = desc("upstream_hedge_wins_total", "Hedges that answered first.", "upstream")
	c.fallbacks = desc("upstream_fallbacks_total", "Exchanges that an upstream got because the route's own could not answer.", "upstream")

	c.agentCalls = desc("agent_calls_total", "Calls to an agent.", "agent")
	c.agentDuration = desc("agent_call_duration_seconds", "Time of a call to an agent, waiting included.", "agent")
	c.agentErrors = desc("agent_errors_total", "Calls without a verdict, timeouts included.", "agent")
	c.agentFailOpens = desc("agent_fail_opens_total", "Exchanges that went on although the agent could not decide.", "agent")
	c.agentTimeouts = desc("agent_timeouts_total", "Calls that got no verdict in time.", "agent")
	c.unpackIn = desc("decompression_bytes_in_total", "Bytes of encoded bodies that were decompressed for an agent.", "agent")
	c.unpackOut = desc("decompression_bytes_out_total", "What those bytes became.", "agent")
	c.notUnpacked = desc("decompression_refusals_total", "Bodies that could not be decompressed for an agent within the limits, by reason. What became of them says the failure mode.", "agent", "reason")
	c.agentDecisions = desc("agent_decisions_total", "Verdicts of an agent.", "agent", "decision")
	c.agentCircuit = desc("agent_circuit_state", "Circuit of an agent: 0 closed, 1 half-open, 2 open.", "agent")
	c.agentOpens = desc("agent_circuit_opens_total", "How often the circuit of an agent opened.", "agent")
	c.agentQueued = desc("agent_queued_calls", "Calls that wait for a free place.", "agent")
	c.agentInFlight = desc("agent_calls_in_flight", "Calls an agent works on now.", "agent")
	c.agentUp = desc("agent_connected", "1 when connected.", "agent")
	c.instanceCalls = desc("agent_instance_calls_total", "Calls to one instance of an agent that has several.", "agent", "instance")
	c.instanceErrors = desc("agent_instance_errors_total", "Calls to the instance without a verdict.", "agent", "instance")
	c.instanceCircuit = desc("agent_instance_circuit_state", "Circuit of the instance: 0 closed, 1 half-open, 2 open.", "agent", "instance")
	c.instanceOpens = desc("agent_instance_circuit_opens_total", "How often the circuit of the instance opened.", "agent", "instance")
	c.instanceInFlight = desc("agent_instance_calls_in_flight", "Calls the instance works on now.", "agent", "instance")
	c.instanceUp = desc("agent_instance_connected", "1 when the instance is connected.", "agent", "instance")

	c.logWritten = desc("log_records_total", "Records written to a log.", "log")
	c.logDropped = desc("log_dropped_records_total", "Records lost because the log's buffer was full.", "log")
	c.logErrors = desc("log_write_errors_total", "Writes to a log that failed and were tried again.", "log")

	c.limits = desc("limit_hits_total", "How often a limit was reached.", "limit")
	c.http2Errors = desc("http2_errors_total", "Violations of HTTP/2 by clients that ended a stream or a connection, by reason.", "reason")
	c.http3Errors = desc("http3_errors_total", "Violations of HTTP/3 by clients that ended a stream or a connection, by reason.", "reason")
	c.http3Streams = desc("http3_streams", "Streams of HTTP/3 that are open.", "listener")
	c.http3Connections = desc("http3_connections", "Connections of QUIC that are open; they are among the open connections as well.", "listener")
	c.streams = desc("http2_streams", "Streams of HTTP/2 that are open.", "listener")
	c.refusals = desc("refused_messages_total", "Messages that broke HTTP and were refused, by code.", "code")
	c.generation = desc("config_generation", "Number of the running configuration.")
	c.reloads = desc("config_reloads_total", "Reloads by result.", "result")
	c.lastReload = desc("config_last_reload_timestamp_seconds", "When the last reload ended, applied or not.")
	c.reloadOK = desc("config_last_reload_successful", "1 when the last reload was applied.")
	c.build = desc("build_info", "Always 1; the version is in the labels.", "version", "goversion")
	c.uptime = desc("uptime_seconds", "Time since the process started.")
	c.up = desc("up", "Always 1 while the process answers.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	e := emitter(out)
	for _, r := range c.m.routeList() {
		c.route(e, r)
	}
	for _, l := range c.m.listenerList() {
		e.counter(c.connections, l.Total.Load(), l.ID)
		e.gauge(c.open, float64(l.Open.Load()), l.ID)
		e.gauge(c.streams, float64(l.Streams.Load()), l.ID)
		if l.HTTP3.Load() {
			e.gauge(c.http3Streams, float64(l.Asks.Load()), l.ID)
			e.gauge(c.http3Connections, float64(l.Quic.Load()), l.ID)
		}
		for limit := range limitCount {
			if n := l.Refused[limit].Load(); n > 0 {
				e.counter(c.refused, n, l.ID, limit.String())
			}
		}
		c.tls(e, l)
	}
	for _, u := range c.m.upstreamList() {
		e.gauge(c.upstreamPanic, flag(u.Panicking.Load()), u.ID)
		e.counter(c.upstreamPanics, u.Panics.Load(), u.ID)
		e.counter(c.retriesRefused, u.RetriesRefused.Load(), u.ID)
		e.counter(c.statusRetries, u.StatusRetries.Load(), u.ID)
		e.counter(c.hedges, u.Hedges.Load(), u.ID)
		e.counter(c.hedgeWins, u.HedgeWins.Load(), u.ID)
		e.counter(c.fallbacks, u.Fallbacks.Load(), u.ID)
		if u.Discovers.Load() {
			e.counter(c.discoveryErrors, u.DiscoveryErrors.Load(), u.ID)
			e.gauge(c.discovered, float64(u.Discovered.Load()), u.ID)
		}
	}
	for _, t := range c.m.targetList() {
		c.target(e, t)
		c.resilience(e, t)
	}
	for _, a := range c.m.agentList() {
		c.agent(e, a)
	}
	for _, l := range c.m.logList() {
		e.counter(c.logWritten, l.Written.Load(), l.ID)
		e.counter(c.logDropped, l.Dropped.Load(), l.ID)
		e.counter(c.logErrors, l.Errors.Load(), l.ID)
	}
	c.process(e)
}

func (c *collector) route(e emitter, r *RouteMetrics) {
	t := r.totals()
	r.eachCode(func(m Method, status int, n uint64) {
		e.counter(c.requests, n, r.ID, m.String(), strconv.Itoa(status))
	})
	e.histogram(c.duration, &t.latency, r.ID)
	e.gauge(c.inFlight, float64(max(0, t.inFlight)), r.ID)
	r.Blocked.Each(func(reason string, n uint64) { e.counter(c.blocked, n, r.ID, reason) })
	e.counter(c.retries, t.retries, r.ID)
	e.counter(c.bytesIn, t.bytesIn, r.ID)
	e.counter(c.bytesOut, t.bytesOut, r.ID)
	c.sockets(e, r)
}

// tls exports what there is of a listener that speaks TLS.
func (c *collector) tls(e emitter, l *ListenerMetrics) {
	certificates := l.TLS.certificates.Load()
	if certificates == nil {
		return
	}
	for i, version := range []string{"1.2", "1.3"} {
		e.counter(c.handshakes, l.TLS.Full[i].Load(), l.ID, version, "no")
		e.counter(c.handshakes, l.TLS.Resumed[i].Load(), l.ID, version, "yes")
	}
	l.TLS.Failures.Each(func(reason string, n uint64) { e.counter(c.handshakeFailures, n, l.ID, reason) })
	e.gauge(c.handshakesActive, float64(l.TLS.Active.Load()), l.ID)
	took := l.TLS.Duration.Snapshot()
	e.histogram(c.handshakeTime, &took, l.ID)
	l.TLS.Staples.Each(func(result string, n uint64) { e.counter(c.staples, n, l.ID, result) })
	l.TLS.Issued.Each(func(name, result string, n uint64) { e.counter(c.issued, n, l.ID, name, result) })
	l.TLS.Hooked.Each(func(action, result string, n uint64) { e.counter(c.hooked, n, l.ID, action, result) })
	for cert, end := range *certificates {
		e.gauge(c.certificateEnd, float64(end.Unix()), l.ID, cert.Name, cert.Key)
	}
}

func (c *collector) target(e emitter, t *TargetMetrics) {
	up, addr := t.Upstream, t.Address
	e.counter(c.targetRequests, t.Requests.Load(), up, addr)
	for kind := FailureCanceled; kind < failureCount; kind++ {
		if n := t.Failures[kind].Load(); n > 0 {
			e.counter(c.targetFailures, n, up, addr, kind.String())
		}
	}
	e.gauge(c.targetActive, float64(t.Active.Load()), up, addr)
	e.gauge(c.targetIdle, float64(t.Idle.Load()), up, addr)
	e.gauge(c.targetOpen, float64(t.Open.Load()), up, addr)
	e.gauge(c.targetWaiting, float64(t.Waiting.Load()), up, addr)
	connects := t.Connects.Snapshot()
	e.histogram(c.targetConnect, &connects, up, addr)
	e.counter(c.targetReused, t.Reused.Load(), up, addr)
	e.counter(c.targetStale, t.Stale.Load(), up, addr)
	e.gauge(c.targetSessions, float64(t.Sessions.Load()), up, addr)
	e.counter(c.targetUnprocessed, t.Unprocessed.Load(), up, addr)
	e.counter(c.targetViolations, t.Violations.Load(), up, addr)
	for i, resumed := range []string{"no", "yes"} {
		if n := t.Shakes[i].Load(); n > 0 {
			e.counter(c.targetShakes, n, up, addr, resumed)
		}
	}
	switch Health(t.Health.Load()) {
	case HealthHealthy:
		e.gauge(c.targetHealth, 1, up, addr)
	case HealthUnhealthy:
		e.gauge(c.targetHealth, 0, up, addr)
	}
	e.counter(c.targetEjected, t.Ejections.Load(), up, addr)
	e.counter(c.targetRestored, t.Restores.Load(), up, addr)
	e.counter(c.targetBad, t.CheckFails.Load(), up, addr)
}

func (c *collector) resilience(e emitter, t *TargetMetrics) {
	up, addr := t.Upstream, t.Address
	e.gauge(c.targetOut, float64(t.Ejected.Load()), up, addr)
	for reason := range outlierCount {
		e.counter(c.targetOutliers, t.Outliers[reason].Load(), up, addr, reason.String())
	}
	e.counter(c.targetKept, t.OutliersKept.Load(), up, addr)
	if circuit := Circuit(t.Circuit.Load()); circuit != CircuitNone {
		e.gauge(c.targetCircuit, float64(circuit), up, addr)
		e.counter(c.targetOpens, t.CircuitOpens.Load(), up, addr)
	}
}

func (c *collector) agent(e emitter, a *AgentMetrics) {
	latency := a.Latency.Snapshot()
	e.counter(c.agentCalls, a.Calls.Load(), a.ID)
	e.histogram(c.agentDuration, &latency, a.ID)
	e.counter(c.agentErrors, a.Errors.Load(), a.ID)
	e.counter(c.agentTimeouts, a.Timeouts.Load(), a.ID)
	e.counter(c.agentFailOpens, a.FailOpens.Load(), a.ID)
	a.Decisions.Each(func(d string, n uint64) { e.counter(c.agentDecisions, n, a.ID, d) })
	e.counter(c.unpackIn, a.PackedBytes.Load(), a.ID)
	e.counter(c.unpackOut, a.UnpackedBytes.Load(), a.ID)
	a.NotUnpacked.Each(func(reason string, n uint64) { e.counter(c.notUnpacked, n, a.ID, reason) })
	s := a.State()
	e.gauge(c.agentCircuit, float64(s.Circuit), a.ID)
	e.counter(c.agentOpens, s.Opens, a.ID)
	e.gauge(c.agentQueued, float64(s.Queued), a.ID)
	e.gauge(c.agentInFlight, float64(s.InFlight), a.ID)
	e.gauge(c.agentUp, flag(s.Up), a.ID)
	for _, in := range s.Instances {
		e.counter(c.instanceCalls, in.Calls, a.ID, in.Name)
		e.counter(c.instanceErrors, in.Errors, a.ID, in.Name)
		e.gauge(c.instanceCircuit, float64(in.Circuit), a.ID, in.Name)
		e.counter(c.instanceOpens, in.Opens, a.ID, in.Name)
		e.gauge(c.instanceInFlight, float64(in.InFlight), a.ID, in.Name)
		e.gauge(c.instanceUp, flag(in.Up), a.ID, in.Name)
	}
}

func (c *collector) process(e emitter) {
	p := &c.m.Process
	for limit := range limitCount {
		e.counter(c.limits, p.Limits[limit].Load(), limit.String())
	}
	p.HTTP3Errors.Each(func(reason string, n uint64) { e.counter(c.http3Errors, n, reason) })
	p.HTTP2Errors.Each(func(reason string, n uint64) { e.counter(c.http2Errors, n, reason) })
	p.Refusals.Each(func(code string, n uint64) { e.counter(c.refusals, n, code) })
	e.gauge(c.generation, float64(p.Generation.Load()))
	e.counter(c.reloads, p.ReloadsOK.Load(), "applied")
	e.counter(c.reloads, p.ReloadsFailed.Load(), "refused")
	if at := p.LastReload.Load(); at != 0 {
		e.gauge(c.lastReload, float64(at))
		e.gauge(c.reloadOK, flag(!p.LastReloadFail.Load()))
	}
	e.gauge(c.build, 1, c.m.version, runtime.Version())
	e.gauge(c.uptime, c.m.Uptime().Seconds())
	e.gauge(c.up, 1)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// emitter sends constant metrics. A label that Prometheus refuses (it must be UTF-8) costs its one series, not the scrape.
type emitter chan<- prometheus.Metric

func (e emitter) counter(d *prometheus.Desc, n uint64, labels ...string) {
	if m, err := prometheus.NewConstMetric(d, prometheus.CounterValue, float64(n), labels...); err == nil {
		e <- m
	}
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	if m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...); err == nil {
		e <- m
	}
}

func (e emitter) histogram(d *prometheus.Desc, s *HistogramSnapshot, labels ...string) {
	if m, err := prometheus.NewConstHistogram(d, s.Count, s.Sum.Seconds(), s.cumulative(), labels...); err == nil {
		e <- m
	}
}
