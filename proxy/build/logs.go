package build

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// closeTimeout bounds how long a log that is no longer used may take to write what it holds.
const closeTimeout = 2 * time.Second

// logs are the access and audit log of one or more generations whose settings for them are equal.
type logs struct {
	config config.Observability
	access *observe.AccessLog
	audit  *observe.AuditLog
	refs   atomic.Int64
}

// openLogs shares prev's logs when the settings did not change, else opens new ones.
func openLogs(c *config.Config, prev *logs, deps Deps) (*logs, error) {
	if prev != nil && prev.config.AccessLog == c.Observability.AccessLog && prev.config.AuditLog == c.Observability.AuditLog {
		prev.refs.Add(1)
		return prev, nil
	}
	l := &logs{config: c.Observability}
	l.refs.Store(1)
	if deps.DryRun {
		return l, nil
	}
	clock := &observe.Clock{}
	var err error
	if a := c.Observability.AccessLog; a.Enabled {
		format := observe.JSON
		if a.Format == "combined" {
			format = observe.Combined
		}
		l.access, err = observe.OpenAccessLog(observe.LogOptions{File: a.File, Output: deps.Stdout, Records: a.BufferSize, Metrics: deps.Metrics, Failing: failing(deps, "access")}, format, deps.Instance, clock)
		if err != nil {
			return nil, err
		}
	}
	if a := c.Observability.AuditLog; a.Enabled {
		l.audit, err = observe.OpenAuditLog(observe.LogOptions{File: a.File, Output: deps.Stdout, Records: a.BufferSize, Metrics: deps.Metrics, Skip: skipped(a), Failing: failing(deps, "audit")}, deps.Instance, clock)
		if err != nil {
			l.release()
			return nil, err
		}
	}
	return l, nil
}

// failing says in the error log that another log cannot be written. The metrics count what that costs; this is for whoever reads no metrics.
func failing(deps Deps, log string) func(error) {
	return func(err error) {
		if err != nil {
			deps.Log.Error("cannot write log, its records wait", "log", log, "error", err)
		} else {
			deps.Log.Info("log is written again", "log", log)
		}
	}
}

// skipped are the events that the switches of the audit log turn off.
func skipped(a config.AuditLog) (events []string) {
	if !a.LogBlocked {
		events = append(events, observe.EventBlocked)
	}
	if !a.LogAgentDecisions {
		events = append(events, observe.EventAgentDecision)
	}
	return events
}

// release gives the logs back; the last one writes what is left and closes them.
func (l *logs) release() {
	if l == nil || l.refs.Add(-1) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if l.access != nil {
		l.access.Close(ctx)
	}
	if l.audit != nil {
		l.audit.Close(ctx)
	}
}

func (l *logs) reopen() error {
	var err error
	if l.access != nil {
		err = errors.Join(err, l.access.Reopen())
	}
	if l.audit != nil {
		err = errors.Join(err, l.audit.Reopen())
	}
	return err
}
