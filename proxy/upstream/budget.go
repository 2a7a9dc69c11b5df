package upstream

// Enter counts an exchange among those that the pool serves, from before its first attempt until after its last. Each is followed by one Leave.
func (p *Pool) Enter() { p.live.Add(1) }

// Leave ends what Enter began.
func (p *Pool) Leave() { p.live.Add(-1) }

// BeginRetry allows one more exchange to be repeated, when those are not more than so many percent of all the pool serves; least are always allowed. What it allows ends with EndRetry.
func (p *Pool) BeginRetry(percent, least int) bool {
	n := p.retrying.Add(1)
	if n <= int64(least) || n*100 <= int64(percent)*p.live.Load() {
		return true
	}
	p.retrying.Add(-1)
	p.metrics.RetriesRefused.Add(1)
	return false
}

// EndRetry ends a repeated exchange.
func (p *Pool) EndRetry() { p.retrying.Add(-1) }
