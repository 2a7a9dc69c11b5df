package observe

import (
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

// NoRoute is the id under which exchanges are counted that never found a route (refused heads, nothing matched).
const NoRoute = "(none)"

// stripes is how many copies of the hot counters a route has. Each connection adds to the copy its number selects, so cores rarely
// fight over a cache line; a reader adds the copies up. A power of two.
const stripes = 4

// codeClasses are hundreds of status codes: 0xx (no answer), 1xx .. 5xx.
const codeClasses = 6

// codes counts the exact status codes of one hundred.
type codes [100]atomic.Uint64

// RouteMetrics counts the exchanges of one route.
type RouteMetrics struct {
	handle
	Blocked CounterSet   // by reason
	AtWork  atomic.Int64 // requests, when their number is bounded
	Sockets SocketMetrics

	stripe [stripes]routeStripe
}

// routeStripe is written by End; the padding keeps two stripes off one cache line.
type routeStripe struct {
	begun    atomic.Uint64
	latency  Histogram // its count is also the number of ended exchanges
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	retries  atomic.Uint64
	codes    [methodCount][codeClasses]atomic.Pointer[codes] // a hundred is allocated when first seen
	_        [64]byte
}

// Sample is one finished exchange.
type Sample struct {
	Stripe   uint32 // the connection's number; any value
	Method   Method
	Status   int           // 0 = closed without an answer
	Latency  time.Duration // first byte of the head to the last byte of the answer
	BytesIn  int64         // body bytes from the client
	BytesOut int64         // body bytes to the client
	Retries  int           // attempts beyond the first
}

// Begin counts an exchange that starts; every Begin is followed by one End with the same stripe.
func (r *RouteMetrics) Begin(stripe uint32) {
	r.stripe[stripe%stripes].begun.Add(1)
}

// End counts a finished exchange.
func (r *RouteMetrics) End(s *Sample) {
	st := &r.stripe[s.Stripe%stripes]
	st.code(s.Method, s.Status).Add(1)
	st.latency.Observe(s.Latency)
	if s.BytesIn > 0 {
		st.bytesIn.Add(uint64(s.BytesIn))
	}
	if s.BytesOut > 0 {
		st.bytesOut.Add(uint64(s.BytesOut))
	}
	if s.Retries > 0 {
		st.retries.Add(uint64(s.Retries))
	}
}

func (st *routeStripe) code(m Method, status int) *atomic.Uint64 {
	if m >= methodCount {
		m = MethodOther
	}
	if status < 100 || status >= codeClasses*100 {
		status = 0
	}
	slot := &st.codes[m][status/100]
	c := slot.Load()
	if c == nil {
		slot.CompareAndSwap(nil, new(codes))
		c = slot.Load()
	}
	return &c[status%100]
}

// routeTotals is a route summed over its stripes.
type routeTotals struct {
	latency                    HistogramSnapshot
	inFlight                   int64
	bytesIn, bytesOut, retries uint64
	class                      [codeClasses]uint64
	requests                   uint64
}

func (r *RouteMetrics) totals() routeTotals {
	var t routeTotals
	// Ended exchanges are read before begun ones, so that the difference is never negative.
	for i := range r.stripe {
		r.stripe[i].latency.addTo(&t.latency)
	}
	t.inFlight = -int64(t.latency.Count)
	for i := range r.stripe {
		st := &r.stripe[i]
		t.inFlight += int64(st.begun.Load())
		t.bytesIn += st.bytesIn.Load()
		t.bytesOut += st.bytesOut.Load()
		t.retries += st.retries.Load()
	}
	r.eachCode(func(_ Method, status int, n uint64) {
		t.class[status/100] += n
		t.requests += n
	})
	return t
}

// eachCode calls f once for every method and status that was seen.
func (r *RouteMetrics) eachCode(f func(m Method, status int, n uint64)) {
	for m := range methodCount {
		for class := range codeClasses {
			var sum [100]uint64
			for i := range r.stripe {
				c := r.stripe[i].codes[m][class].Load()
				if c == nil {
					continue
				}
				for j := range c {
					sum[j] += c[j].Load()
				}
			}
			for j, n := range sum {
				if n > 0 {
					f(m, class*100+j, n)
				}
			}
		}
	}
}

// Fill sets the counters of an api.Route: totals since the handle exists.
func (r *RouteMetrics) Fill(out *api.Route) {
	t := r.totals()
	out.Requests, out.Status = t.requests, t.class
	out.Blocked, out.Retries, out.InFlight = r.Blocked.Total(), t.retries, max(0, t.inFlight)
	out.Bounds, out.Counts = LatencyBounds(), t.latency.Counts[:]
	out.SumSecs = t.latency.Sum.Seconds()
}
