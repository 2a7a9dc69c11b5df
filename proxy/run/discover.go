package run

import (
	"context"

	"github.com/sentinel-stack/sentinel/proxy/build"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// discovered is a configuration with the targets that have been found by now, those that are new to it included when they can be found in time.
func (p *Proxy) discovered(ctx context.Context, loaded *config.Loaded) *config.Loaded {
	p.discovery.Watch(ctx, &loaded.Config)
	return p.withTargets(loaded)
}

func (p *Proxy) withTargets(loaded *config.Loaded) *config.Loaded {
	l := *loaded
	l.Config = p.discovery.Apply(loaded.Config)
	return &l
}

// follow makes a new generation each time targets have come or gone.
func (p *Proxy) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.discovery.Changed():
			if err := p.retarget(ctx); err != nil {
				p.log.Error("cannot take over the targets that were found, the running generation stays", "error", err)
			}
		}
	}
}

// retarget serves the configuration as it was loaded last with the targets of now.
func (p *Proxy) retarget(ctx context.Context) error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	if p.draining.Load() {
		return nil
	}
	old := p.current()
	set, err := build.Build(ctx, p.withTargets(p.base), old, p.number+1, p.deps)
	if err != nil {
		return err
	}
	if err := p.serve(ctx, set, old); err != nil {
		return err
	}
	p.log.Info("targets taken over", "generation", p.number)
	return nil
}

// serve replaces the running generation. It is called with reloading held.
func (p *Proxy) serve(ctx context.Context, set, old *build.Set) error {
	if err := p.server.Swap(set.Generation); err != nil {
		set.Abandon(ctx, old)
		return err
	}
	p.number++
	p.adopt(set)
	return nil
}
