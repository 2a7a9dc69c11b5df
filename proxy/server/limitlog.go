package server

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// limitLog keeps the error log readable under attack: each limit is reported at most once per limitLogEvery, failures of upstreams once a second.
type limitLog struct {
	last     [64]atomic.Int64 // by limit, on the server's clock
	upstream atomic.Int64
	quiet    atomic.Int64 // failures of upstreams not reported since the last one that was
}

const limitLogEvery = 10e9 // ns

// reached counts a limit that was reached, and says so in the error log.
func (s *Server) reached(l observe.Limit, client netip.Addr) {
	s.metrics.Process.Hit(l)
	s.limitHit(l, client)
}

// limitHit is reached for a limit that was counted elsewhere.
func (s *Server) limitHit(l observe.Limit, client netip.Addr) {
	last, now := &s.limits.last[l%64], s.now()+limitLogEvery
	if seen := last.Load(); now-seen >= limitLogEvery && last.CompareAndSwap(seen, now) {
		s.log.Warn("limit reached", "limit", l.String(), "client", client)
	}
}

// upstreamFailed says in the error log that an exchange could not be answered. Every one is in the access log; here they are for whoever looks for a reason.
func (c *conn) upstreamFailed(w *work, code string) {
	l, now := &c.s.limits, c.s.now()
	seen := l.upstream.Load()
	if now-seen < int64(time.Second) && seen != 0 || !l.upstream.CompareAndSwap(seen, now) {
		l.quiet.Add(1)
		return
	}
	c.s.log.Warn("upstream failed", "reason", code, "upstream", w.upstream, "target", w.address, "route", w.route.ID, "request_id", string(w.id),
		"attempts", w.attempts, "unreported", l.quiet.Swap(0))
}
