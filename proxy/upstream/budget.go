package upstream

// BeginRetry allows one more repeated request, when they are not more than so many percent of the upstream's running requests; least are always allowed. What it allows ends with EndRetry.
func (p *Pool) BeginRetry(percent, least int) bool {
	n := p.retrying.Add(1)
	if n <= int64(least) {
		return true
	}
	var live int64
	for _, t := range p.targets {
		live += t.endpoint.metrics.Active.Load()
	}
	if n*100 <= int64(percent)*live {
		return true
	}
	p.retrying.Add(-1)
	p.metrics.RetriesRefused.Add(1)
	return false
}

// EndRetry ends a repeated request.
func (p *Pool) EndRetry() { p.retrying.Add(-1) }
