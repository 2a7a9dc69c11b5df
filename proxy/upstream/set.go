package upstream

import (
	"bytes"
	"reflect"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Set is the pools of one generation.
type Set struct {
	pools []*Pool
	byID  map[string]*Pool
	deps  Deps
	spare []byte // signs sticky cookies without a key file; the same for all generations of a process
}

// NewSet makes the pools of a configuration. What prev (may be nil) has for the same upstream is carried over: the pool itself when its configuration and the files it names are equal, else its endpoints.
// Nothing is dialed and no goroutine runs before Start. Close gives the set back.
func NewSet(cfgs []config.Upstream, prev *Set, deps Deps) (*Set, error) {
	if err := deps.fill(); err != nil {
		return nil, err
	}
	files := deps.Files
	deps.Files = nil // pools outlive the configuration they come from, and keep nothing of it alive
	s := &Set{byID: make(map[string]*Pool, len(cfgs)), deps: deps}
	if prev != nil {
		s.spare = prev.spare
	} else {
		s.spare = randomKey()
	}
	for _, cfg := range cfgs {
		client, err := newClient(&cfg, files)
		if err != nil {
			s.Close()
			return nil, err
		}
		old := prev.Pool(cfg.ID)
		key, err := stickyKey(&cfg)
		if err != nil {
			s.Close()
			return nil, err
		}
		if old != nil && reflect.DeepEqual(old.cfg, cfg) && old.tls.Digest() == client.Digest() && bytes.Equal(old.key, key) && old.retain() {
			s.add(old)
			continue
		}
		p, err := newPool(cfg, client, old, key, s.spare, deps)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.add(p)
	}
	return s, nil
}

func (s *Set) add(p *Pool) {
	s.pools = append(s.pools, p)
	s.byID[p.cfg.ID] = p
}

// Pool returns the pool of an upstream, nil when there is none.
func (s *Set) Pool(id string) *Pool {
	if s == nil {
		return nil
	}
	return s.byID[id]
}

// Pools returns all pools in the order of the configuration. The slice must not be changed.
func (s *Set) Pools() []*Pool {
	if s == nil {
		return nil
	}
	return s.pools
}

// Start begins health checks and the eviction of idle connections. Pools that run already go on undisturbed, except that from now on
// they tell this set's OnHealth.
func (s *Set) Start() {
	for _, p := range s.Pools() {
		p.onHealth.Store(&s.deps.OnHealth)
		p.Start()
	}
}

// Close gives every pool back. A pool that no other set uses stops its goroutines, closes its idle connections at once and its busy ones when
// they are released. Exchanges under way may go on using their pool.
func (s *Set) Close() {
	for _, p := range s.Pools() {
		p.Close()
	}
}
