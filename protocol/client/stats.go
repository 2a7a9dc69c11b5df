package client

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// stats are totals since the client was made.
type stats struct {
	calls, errors, timeouts, blocks, resent, overload, rejected, unmatched, reconnects atomic.Uint64
	latency                                                                            histogram
	lastWarned                                                                         atomic.Int64
}

func (s *stats) record(d time.Duration, err error, r *protocol.Response) {
	if errors.Is(err, ErrCanceled) {
		return
	}
	s.latency.add(d)
	switch {
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrUnavailable):
		s.timeouts.Add(1)
		s.errors.Add(1)
	case err != nil:
		s.errors.Add(1)
	case r.Verdict.Action != protocol.ActionAllow:
		s.blocks.Add(1)
	}
}

// histogram counts durations in microseconds, with eight steps to each doubling, so a quantile is off by at most an eighth.
type histogram struct{ counts [256]atomic.Uint64 }

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(uint64(max(d.Microseconds(), 0)))].Add(1)
}

func bucketOf(us uint64) int {
	if us < 8 {
		return int(us)
	}
	e := bits.Len64(us) - 4 // at least 0
	return min(8*(e+1)+int(us>>e)-8, 255)
}

// upper is the greatest number of microseconds that a bucket holds.
func upper(i int) int64 {
	if i < 8 {
		return int64(i)
	}
	e, step := i/8-1, i%8+8
	return int64(step+1)<<e - 1
}

func (h *histogram) load() (counts [256]uint64) {
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
	}
	return counts
}

func (h *histogram) quantile(q float64) int64 {
	counts := h.load()
	return quantile(&counts, q)
}

func quantile(counts *[256]uint64, q float64) int64 {
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	rank, seen := uint64(q*float64(total)), uint64(0)
	for i, n := range counts {
		if seen += n; seen > rank {
			return upper(i)
		}
	}
	return 0
}

// Snapshot is the client at one glance. Counters are totals since it was made.
type Snapshot struct {
	Name, Address string
	Connected     bool
	Connections   int    // ready for work
	Circuit       string // closed, open, half-open
	Health        protocol.Health
	Version       string // the agent's own
	Encoding      protocol.Encoding
	InFlight      int64
	Queued        int64
	Calls         uint64
	Errors        uint64 // calls without a verdict, timeouts included
	Timeouts      uint64
	Blocks        uint64 // verdicts other than allow
	Opens         uint64 // of the circuit
	Resent        uint64 // calls sent again because a connection died
	Overload      uint64 // calls refused by the bulkhead
	Rejected      uint64 // calls refused by the circuit
	Unmatched     uint64 // answers nobody waited for
	Reconnects    uint64
	P50, P99      time.Duration
	LastError     string
}

// Snapshot returns the state of the client now.
func (c *Client) Snapshot() Snapshot {
	s := Snapshot{Name: c.opt.Name, Address: c.opt.Address, Connections: len(*c.ready.Load()), Calls: c.stats.calls.Load(), Errors: c.stats.errors.Load(),
		Timeouts: c.stats.timeouts.Load(), Blocks: c.stats.blocks.Load(), Resent: c.stats.resent.Load(), Overload: c.stats.overload.Load(),
		Rejected: c.stats.rejected.Load(), Unmatched: c.stats.unmatched.Load(), Reconnects: c.stats.reconnects.Load(),
		P50: time.Duration(c.stats.latency.quantile(0.5)) * time.Microsecond, P99: time.Duration(c.stats.latency.quantile(0.99)) * time.Microsecond}
	s.Connected = s.Connections > 0
	s.Circuit, s.Opens = c.breaker.snapshot()
	active, waiting := c.bulk.load()
	s.InFlight, s.Queued = int64(active), int64(waiting)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Health, s.Version, s.Encoding = c.health, c.caps.Version, c.encoding
	if !s.Connected && s.Health == protocol.Healthy {
		s.Health = protocol.HealthUnknown
	}
	if c.lastErr != nil {
		s.LastError = c.lastErr.Error()
	}
	return s
}

// Report returns the agent's own metrics as it last sent them, or nil. The caller does not change it.
func (c *Client) Report() *protocol.MetricsReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

// warnEvery is how often one kind of misbehaviour is logged.
const warnEvery = 10 * time.Second

func (c *Client) unmatched(id string) {
	n := c.stats.unmatched.Add(1)
	now := time.Now().UnixNano()
	if last := c.stats.lastWarned.Load(); now-last >= int64(warnEvery) && c.stats.lastWarned.CompareAndSwap(last, now) {
		c.log.Warn("agent answered what nobody waits for", "correlation_id", id, "total", n)
	}
}

func (c *Client) failed(err error) {
	if errors.Is(err, ErrCanceled) {
		return
	}
	c.mu.Lock()
	c.lastErr = err
	c.mu.Unlock()
}
