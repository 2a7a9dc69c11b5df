package observe

import (
	"context"
	"log/slog"
	"time"
)

// errorFlushEvery is shorter than for other logs: people watch this one.
const errorFlushEvery = 10 * time.Millisecond

// ErrorLog is the proxy's own log behind log/slog. Records wait in memory for a moment: Close it before the process ends.
type ErrorLog struct {
	sink    *sink
	level   *slog.LevelVar
	handler slog.Handler
}

// OpenErrorLog opens the error log; text chooses slog's text form instead of JSON.
func OpenErrorLog(o LogOptions, level slog.Level, text bool) (*ErrorLog, error) {
	s, err := openSinkEvery("error", o, errorFlushEvery)
	if err != nil {
		return nil, err
	}
	l := &ErrorLog{sink: s, level: new(slog.LevelVar)}
	l.level.Set(level)
	opts := &slog.HandlerOptions{Level: l.level, ReplaceAttr: renameKeys}
	if text {
		l.handler = slog.NewTextHandler(s, opts)
	} else {
		l.handler = slog.NewJSONHandler(s, opts)
	}
	return l, nil
}

// renameKeys gives the record's own keys the names that all our logs share.
func renameKeys(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		a.Key = "timestamp"
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Key = "level"
	}
	return a
}

// Handler is the slog.Handler that feeds the log.
func (l *ErrorLog) Handler() slog.Handler { return l.handler }

// SetLevel changes the lowest level that is written.
func (l *ErrorLog) SetLevel(level slog.Level) { l.level.Set(level) }

// Reopen is as for the access log.
func (l *ErrorLog) Reopen() error { return l.sink.Reopen() }

// Close is as for the access log.
func (l *ErrorLog) Close(ctx context.Context) error { return l.sink.Close(ctx) }
