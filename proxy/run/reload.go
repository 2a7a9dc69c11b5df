package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/build"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// pollInterval is how often a proxy that runs alone looks at its own files (auto-reload).
const pollInterval = time.Second

// Reload loads a configuration and serves it if everything about it is sound; otherwise the running generation stays untouched. It implements admin.Proxy.
func (p *Proxy) Reload(ctx context.Context, r api.ReloadRequest) api.Reload {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	path := r.Config
	if path == "" {
		path = p.options.Config
	}
	out := api.Reload{At: time.Now()}
	err := p.replace(ctx, path, r.Hash)
	out.Generation = p.number
	out.OK = err == nil
	if err != nil {
		out.Error = err.Error()
		var ds config.Diagnostics
		if errors.As(err, &ds) {
			for _, d := range ds {
				out.Diagnostics = append(out.Diagnostics, api.Diagnostic(d))
			}
		}
		p.log.Error("reload refused, the running generation stays", "config", path, "generation", p.number, "error", err)
	} else {
		p.options.Config = path
		p.log.Info("reloaded", "config", path, "generation", p.number, "hash", p.current().Loaded.Hash, "took_ms", time.Since(out.At).Milliseconds())
	}
	p.last.Store(&out)
	p.metrics.Process.Reloaded(out.At, p.number, out.OK)
	p.audit(out, path)
	return out
}

// replace is the whole way from text to serving.
func (p *Proxy) replace(ctx context.Context, path, hash string) error {
	if p.draining.Load() {
		return errors.New("cannot reload: the proxy is draining")
	}
	loaded, err := config.Load(path, config.Options{})
	if err != nil {
		return err
	}
	if hash != "" && hash != loaded.Hash {
		return fmt.Errorf("cannot reload: configuration has hash %s, expected %s: it changed meanwhile", loaded.Hash, hash)
	}
	stamps := fileStamps(loaded)
	old := p.current()
	if err := sameProcess(old.Loaded.Config, loaded.Config); err != nil {
		return err
	}
	set, err := build.Build(ctx, p.discovered(ctx, loaded), old, p.number+1, p.deps)
	if err == nil {
		err = p.serve(ctx, set, old)
	}
	if err != nil {
		p.discovery.Watch(ctx, &p.base.Config) // as it was
		p.discovery.Keep(&p.base.Config)
		return err
	}
	p.base = loaded
	p.stamps.Store(&stamps)
	p.discovery.Keep(&loaded.Config)
	p.errors.SetLevel(logLevel(loaded.Config.Observability.Log.Level))
	setWorkers(loaded.Config.System.WorkerThreads)
	warn(p.log, loaded.Warnings)
	return nil
}

// warn puts what was found in a configuration that is served into the log.
func warn(log *slog.Logger, found config.Diagnostics) {
	for _, w := range found {
		log.Warn(w.Message, "file", w.File, "line", w.Line, "col", w.Col, "hint", w.Hint)
	}
}

// sameProcess refuses what a running process cannot change. The stack never asks for it: its plan compares the same settings and replaces the process.
func sameProcess(old, new config.Config) error {
	addresses := func(c config.Config) (out []string) {
		for _, l := range c.Listeners {
			out = append(out, l.ID+" "+l.Address.String())
		}
		slices.Sort(out)
		return out
	}
	if a, b := addresses(old), addresses(new); !slices.Equal(a, b) {
		return fmt.Errorf("cannot change listeners of a running proxy from %v to %v: restart it, or run it under sentinel-stack, which replaces it without losing a connection", a, b)
	}
	was, is := old.ProcessSettings(), new.ProcessSettings()
	what := ""
	switch {
	case was.Metrics != is.Metrics:
		what = "metrics listener"
	case was.ErrorLog != is.ErrorLog:
		what = "error log"
	case was.AdminSocket != is.AdminSocket:
		what = "admin socket"
	case was.HTTP3 != is.HTTP3:
		what = "listeners with HTTP/3"
	default:
		return nil
	}
	return fmt.Errorf("cannot change the %s of a running proxy: restart it, or run it under sentinel-stack, which replaces it without losing a connection", what)
}

func (p *Proxy) reloadLogged(ctx context.Context) { p.Reload(ctx, api.ReloadRequest{}) }

func (p *Proxy) audit(out api.Reload, path string) {
	log := p.current().Generation.AuditLog
	if log == nil {
		return
	}
	action := "applied"
	if !out.OK {
		action = "refused"
	}
	log.Append(&observe.AuditRecord{Time: out.At, Event: observe.EventConfigChange, Action: action, Reason: out.Error, Generation: out.Generation, Metadata: []observe.Pair{{Name: "config", Value: path}}})
}

// watchFiles reloads when a file of the configuration changes. It compares size, time and inode of each; Reload reads the contents.
func (p *Proxy) watchFiles(ctx context.Context) error {
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	seen := *p.stamps.Load()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			if now := fileStamps(p.current().Loaded); now != seen {
				before := p.stamps.Load()
				p.reloadLogged(ctx)
				if seen = now; p.stamps.Load() != before {
					seen = *p.stamps.Load() // the new configuration may include other files
				}
			}
		}
	}
}

// fileStamps tells whether the files of a configuration changed, without reading them, or which files its include patterns match.
func fileStamps(l *config.Loaded) string {
	var out []byte
	for _, pattern := range l.Globs {
		names, _ := filepath.Glob(pattern) // the pattern was good when it was loaded
		out = fmt.Appendf(out, "%q\n", names)
	}
	for _, path := range l.Files {
		info, err := os.Stat(path)
		if err != nil {
			out = fmt.Appendf(out, "%s %v\n", path, err)
			continue
		}
		out = fmt.Appendf(out, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return string(out)
}

// Check builds everything that serving l would need and closes it again. No agent is asked, no log file is opened, nothing is bound.
func Check(ctx context.Context, l *config.Loaded, version string, log *slog.Logger, getenv func(string) string) error {
	p := &Proxy{started: time.Now(), instance: "check"}
	p.metrics = observe.NewMetrics(version, nil)
	set, err := build.Build(ctx, l, nil, 1, build.Deps{
		Metrics: p.metrics, Log: log, Source: p, Instance: p.instance, Version: version, RuntimeDir: config.RuntimeDir(l.Config, getenv), DryRun: true,
	})
	if err != nil {
		return err
	}
	set.Close()
	return nil
}
