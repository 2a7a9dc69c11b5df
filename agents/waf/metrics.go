package main

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
	"github.com/sentinel-stack/sentinel/protocol"
)

// counters are the agent's, over all configurations.
type counters struct {
	requests, blocked, detected, reloads, reloadErrors atomic.Uint64

	skipped, unjudged atomic.Uint64

	mu    sync.Mutex // guards the maps
	hits  map[int]uint64
	asked map[int]uint64 // by rule: how often the fast path asked the engine because of it
}

// maxRules bounds the series told per rule.
const maxRules = 1500

func (c *counters) hit(rule int) { c.note(&c.hits, rule) }

func (c *counters) note(m *map[int]uint64, rule int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *m == nil {
		*m = map[int]uint64{}
	}
	if _, known := (*m)[rule]; known || len(*m) < maxRules {
		(*m)[rule]++
	}
}

// fast counts an answer of the fast path.
func (c *counters) fast(why int) {
	switch why {
	case prefilter.Clean:
		c.skipped.Add(1)
	case prefilter.Unknown:
		c.unjudged.Add(1)
	default:
		c.note(&c.asked, why)
	}
}

// byRule tells a map, in the order of the rules.
func byRule(name, help string, m map[int]uint64) (out []protocol.Sample) {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, protocol.Sample{Name: name, Help: help, Labels: []protocol.Header{{Name: "rule", Value: strconv.Itoa(id)}}, Value: float64(m[id])})
	}
	return out
}

// Metrics returns the counters, and the hits of each rule that ever fired.
func (w *waf) Metrics() protocol.MetricsReport {
	c := &w.count
	open, evicted := w.open.sizes()
	w.mu.RLock()
	rules, log := w.current, w.log
	w.mu.RUnlock()
	counter := func(name, help string, n uint64) protocol.Sample {
		return protocol.Sample{Name: name, Help: help, Value: float64(n)}
	}
	r := protocol.MetricsReport{Counters: []protocol.Sample{
		counter("waf_requests_total", "Requests inspected.", c.requests.Load()),
		counter("waf_blocked_total", "Requests and responses refused.", c.blocked.Load()),
		counter("waf_detected_total", "Requests and responses that rules fired on and that passed.", c.detected.Load()),
		counter("waf_reloads_total", "Changes of the custom rules taken.", c.reloads.Load()),
		counter("waf_reload_errors_total", "Changes of the custom rules that could not be taken; the last good rules stayed.", c.reloadErrors.Load()),
		counter("waf_fast_path_skipped_total", "Requests that did without the engine: no rule could fire.", c.skipped.Load()),
		counter("waf_fast_path_unjudged_total", "Requests that went through the engine because the fast path does not judge their kind.", c.unjudged.Load()),
		counter("waf_evicted_total", "Exchanges forgotten because there were more than max-transactions.", evicted),
	}}
	if log != nil {
		r.Counters = append(r.Counters, counter("waf_audit_dropped_total", "Audit records dropped because the disk was too slow.", log.Dropped.Load()),
			counter("waf_audit_failed_total", "Audit records that could not be written.", log.Failed.Load()))
	}
	r.Gauges = []protocol.Sample{
		{Name: "waf_open_exchanges", Help: "Exchanges remembered.", Value: float64(open)},
		{Name: "waf_rules_info", Help: "The rules in force, always 1.", Labels: []protocol.Header{{Name: "version", Value: rules.set.Version}, {Name: "mode", Value: rules.set.Config.Mode}}, Value: 1},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Counters = append(r.Counters, byRule("waf_rule_hits_total", "How often a rule fired.", c.hits)...)
	r.Counters = append(r.Counters, byRule("waf_fast_path_asked_total", "Requests that went through the engine because this rule might fire.", c.asked)...)
	return r
}
