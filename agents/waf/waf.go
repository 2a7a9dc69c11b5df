package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/agents/waf/audit"
	"github.com/sentinel-stack/sentinel/agents/waf/ruleset"
	"github.com/sentinel-stack/sentinel/protocol"
)

// pollInterval is how often the directory of custom rules is looked at.
const pollInterval = time.Second

// inForce is a rule set with what belongs to it.
type inForce struct {
	set    *ruleset.Set
	text   json.RawMessage // it was made of
	redact *audit.Redactor
}

// waf is the agent.
type waf struct {
	version string
	count   counters
	open    table
	stop    context.CancelFunc // of the goroutine of Start
	polling sync.WaitGroup

	changing sync.Mutex // serialises changes of the rules

	mu      sync.RWMutex // guards everything below
	current *inForce
	log     *audit.Log // nil = none
}

// newWAF returns an agent with the default configuration in force: an unconfigured firewall guards, it does not wave through.
func newWAF(version string) (*waf, error) {
	w := &waf{version: version, stop: func() {}}
	w.open.init()
	if err := w.apply(json.RawMessage("{}")); err != nil {
		return nil, fmt.Errorf("cannot compile the built-in rules, for which temporary files are made in %s: %w", os.TempDir(), err)
	}
	return w, nil
}

// Name returns "waf".
func (w *waf) Name() string { return "waf" }

// Version returns the version of the program.
func (w *waf) Version() string { return w.version }

// Configure compiles the rules and, if nothing is wrong, switches over. Exchanges under way finish with the rules they began with.
func (w *waf) Configure(_ context.Context, config json.RawMessage) error { return w.apply(config) }

func (w *waf) apply(text json.RawMessage) error {
	w.changing.Lock()
	defer w.changing.Unlock()
	set, err := ruleset.New(text)
	if err != nil {
		return err
	}
	w.mu.RLock()
	old, log := w.current, w.log
	w.mu.RUnlock()
	if path := set.Config.AuditLog; path == "" {
		log = nil
	} else if log == nil || log.Path() != path {
		if log, err = audit.Open(path); err != nil {
			set.Close()
			return fmt.Errorf("audit-log: %v", err)
		}
	}
	w.mu.Lock()
	previous := w.log
	w.current, w.log = &inForce{set: set, text: text, redact: audit.NewRedactor(set.Redact)}, log
	w.mu.Unlock()
	w.open.resize(set.Config.MaxTransactions)
	if previous != nil && previous != log {
		_ = previous.Close() // nobody writes to it any more: writers hold mu
	}
	if old != nil {
		old.set.Close()
	}
	debug.FreeOSMemory() // compiling rules leaves more behind than the rules take
	return nil
}

func (w *waf) rules() *inForce {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.current
}

// Start begins to follow the directory of custom rules and to forget exchanges that nobody ends.
func (w *waf) Start(ctx context.Context, log *slog.Logger) error {
	ctx, w.stop = context.WithCancel(ctx)
	w.polling.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		var f follower
		for {
			select {
			case now := <-tick.C:
				w.open.expire(now)
				w.follow(&f, log)
				f.tellFastPath(w.rules(), log)
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// follower remembers what the last look at the custom rules found.
type follower struct {
	seen, refused string
	told          *inForce // of their fast path
}

// tellFastPath says, once of each set of rules, when the configuration wants a fast path and there can be none.
func (f *follower) tellFastPath(rules *inForce, log *slog.Logger) {
	if err := rules.set.NoFastPath; err != nil && rules != f.told {
		log.Warn("no fast path: every request goes through the engine", "reason", err)
	}
	f.told = rules
}

// follow takes changed rules once two looks in a row have found the same, so that half a file never counts. Rules with an error leave the old ones in force.
func (w *waf) follow(f *follower, log *slog.Logger) {
	rules := w.rules()
	stamp, changed := rules.set.Stamp()
	if settled := stamp == f.seen; !changed || !settled || stamp == f.refused {
		f.seen = stamp
		return
	}
	if err := w.apply(rules.text); err != nil {
		f.refused = stamp
		w.count.reloadErrors.Add(1)
		log.Error("cannot reload rules, the last good ones stay", "error", err)
		return
	}
	f.refused = ""
	w.count.reloads.Add(1)
	log.Info("rules reloaded", "rules_version", rules.set.Version)
}

// Reopen opens the audit log again.
func (w *waf) Reopen() error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.log == nil {
		return nil
	}
	return w.log.Reopen()
}

// Close ends the goroutine of Start and writes what is left of the audit log.
func (w *waf) Close() error {
	w.stop()
	w.polling.Wait()
	w.open.clear()
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	w.current.set.Close()
	if log == nil {
		return nil
	}
	return log.Close()
}

var errUnknown = errors.New("cannot judge a body or response whose request head was not seen, or too long ago")

// Request judges the head of a request. The rules for bodies run as well, on an empty one: whether a body follows is the client's word, and a request without one gets no further question.
func (w *waf) Request(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	v := newVisit(w.rules(), r, w.count.fast)
	w.count.requests.Add(1)
	refusal, err := v.head()
	if err != nil {
		v.close()
		return protocol.Verdict{}, err
	}
	verdict := w.judged(v, "request", refusal)
	if refusal != nil {
		v.close()
		return verdict, nil
	}
	w.open.put(v)
	return verdict, nil
}

// RequestBody judges a request with its body, once it is complete.
func (w *waf) RequestBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	v := w.open.get(c.CorrelationID)
	if v == nil {
		return protocol.Verdict{}, errUnknown
	}
	defer v.leave()
	refusal, done, err := v.requestBody(c)
	switch {
	case err != nil:
		return protocol.Verdict{}, err
	case !done && refusal == nil:
		verdict := protocol.Allow()
		verdict.NeedsMore = true
		return verdict, nil
	}
	return w.judged(v, "request", refusal), nil
}

// Response judges the head of a response.
func (w *waf) Response(_ context.Context, r *protocol.ResponseHeaders) (protocol.Verdict, error) {
	if !w.rules().set.Config.InspectResponses {
		return protocol.Allow(), nil
	}
	v := w.open.get(r.CorrelationID)
	if v == nil {
		return protocol.Verdict{}, errUnknown
	}
	defer v.leave()
	return w.judged(v, "response", v.response(r)), nil
}

// ResponseBody judges a response with its body, once it is complete.
func (w *waf) ResponseBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	if !w.rules().set.Config.InspectResponses {
		return protocol.Allow(), nil
	}
	v := w.open.get(c.CorrelationID)
	if v == nil {
		return protocol.Verdict{}, errUnknown
	}
	defer v.leave()
	refusal, err := v.responseBody(c)
	switch {
	case err != nil:
		return protocol.Verdict{}, err
	case !c.Last && refusal == nil:
		verdict := protocol.Allow()
		verdict.NeedsMore = true
		return verdict, nil
	}
	return w.judged(v, "response", refusal), nil
}

// Complete frees what is held for an exchange.
func (w *waf) Complete(_ context.Context, c *protocol.RequestComplete) { w.open.drop(c.CorrelationID) }
