package server

import (
	"net/netip"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// limitLog keeps the error log readable under attack: each limit is reported at most once per limitLogEvery.
type limitLog struct {
	last [64]atomic.Int64 // by limit, on the server's clock
}

const limitLogEvery = 10e9 // ns

// limitHit counts nothing (the caller did); it says in the error log that a limit was reached.
func (s *Server) limitHit(l observe.Limit, client netip.Addr) {
	last, now := &s.limits.last[l%64], s.now()+limitLogEvery
	if seen := last.Load(); now-seen >= limitLogEvery && last.CompareAndSwap(seen, now) {
		s.log.Warn("limit reached", "limit", l.String(), "client", client)
	}
}
