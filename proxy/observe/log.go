package observe

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
)

// LogMetrics counts the records of one log (access, audit, error).
type LogMetrics struct {
	handle
	Written atomic.Uint64 // records handed to the file
	Dropped atomic.Uint64 // records lost because the buffer was full
	Errors  atomic.Uint64 // writes that failed; the records are retried
}

// LogOptions describe where a log goes.
type LogOptions struct {
	File    string    // path, opened for append; "" or "-" = Output
	Output  io.Writer // used when File is "" or "-"; not closed
	Records int       // how many may wait; 0 = DefaultRecords
	Metrics *Metrics  // may be nil
	Skip    []string  // audit log: events that are not written

	Failing func(error) // told when writing begins to fail, and with nil when it works again; may be nil
}

// DefaultRecords is how many records of a log may wait to be written.
const DefaultRecords = 8192

// Format is the form of an access log line.
type Format uint8

// The formats of the access log.
const (
	JSON     Format = iota // one object a line
	Combined               // Apache's and nginx's, with request id, duration and upstream at the end
)

// AccessLog writes one line per exchange.
type AccessLog struct {
	sink     *sink
	clock    *Clock
	format   Format
	instance string
}

// OpenAccessLog opens an access log. Instance is this process's id, written into every JSON line.
func OpenAccessLog(o LogOptions, format Format, instance string, clock *Clock) (*AccessLog, error) {
	s, err := openSink("access", o)
	if err != nil {
		return nil, err
	}
	return &AccessLog{sink: s, clock: clock, format: format, instance: instance}, nil
}

// Append encodes the record and returns; it neither waits for the disk nor allocates. It reports whether there was room.
func (l *AccessLog) Append(r *AccessRecord) bool {
	sh := l.sink.begin(r.Stripe)
	if sh == nil {
		return false
	}
	if l.format == Combined {
		sh.buf = appendCombined(sh.buf, r, l.clock)
	} else {
		sh.buf = appendAccessJSON(sh.buf, r, l.clock, l.instance)
	}
	l.sink.end(sh)
	return true
}

// Reopen flushes, then opens the file again by its name, for log rotation. On error the old file stays in use.
func (l *AccessLog) Reopen() error { return l.sink.Reopen() }

// Close writes what waits, until ctx is done, and stops. Later records are dropped.
func (l *AccessLog) Close(ctx context.Context) error { return l.sink.Close(ctx) }

// AuditLog writes one JSON line per decision or event.
type AuditLog struct {
	sink     *sink
	clock    *Clock
	instance string
	skip     []string
}

// OpenAuditLog opens an audit log.
func OpenAuditLog(o LogOptions, instance string, clock *Clock) (*AuditLog, error) {
	s, err := openSink("audit", o)
	if err != nil {
		return nil, err
	}
	return &AuditLog{sink: s, clock: clock, instance: instance, skip: o.Skip}, nil
}

// Append encodes the record and returns. It reports whether there was room; a record that nobody wants to be written needs none.
func (l *AuditLog) Append(r *AuditRecord) bool {
	if slices.Contains(l.skip, r.Event) {
		return true
	}
	sh := l.sink.begin(0)
	if sh == nil {
		return false
	}
	sh.buf = appendAuditJSON(sh.buf, r, l.clock, l.instance)
	l.sink.end(sh)
	return true
}

// Reopen is as for the access log.
func (l *AuditLog) Reopen() error { return l.sink.Reopen() }

// Close is as for the access log.
func (l *AuditLog) Close(ctx context.Context) error { return l.sink.Close(ctx) }
