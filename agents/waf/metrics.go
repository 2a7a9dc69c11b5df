package main

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/protocol"
)

// counters are the agent's, over all configurations.
type counters struct {
	requests, blocked, detected, reloads, reloadErrors atomic.Uint64

	mu   sync.Mutex // guards hits
	hits map[int]uint64
}

// maxRules bounds the series told per rule.
const maxRules = 1500

func (c *counters) hit(rule int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hits == nil {
		c.hits = map[int]uint64{}
	}
	if _, known := c.hits[rule]; known || len(c.hits) < maxRules {
		c.hits[rule]++
	}
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
	ids := make([]int, 0, len(c.hits))
	for id := range c.hits {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r.Counters = append(r.Counters, protocol.Sample{Name: "waf_rule_hits_total", Help: "How often a rule fired.", Labels: []protocol.Header{{Name: "rule", Value: strconv.Itoa(id)}}, Value: float64(c.hits[id])})
	}
	return r
}
