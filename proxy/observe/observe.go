// Package observe says what the proxy does: metrics, access log, audit log, error log, request ids and a coarse clock.
//
// Everything on the request path is free of allocation and of waiting. Metrics are structs of atomic counters that the
// builder resolves once per generation (Metrics.Route, .Listener, .Target, .Agent); a request adds to them without any lookup. Logs encode a record on the
// caller's goroutine into a bounded buffer and leave the writing to one goroutine per log; when the disk cannot keep up, records are dropped and counted, never waited for.
//
// A handle is kept while somebody uses it: asking for an id that is known returns the same handle, so counters survive a
// change of generation. Release gives it back; the last Release ends its series.
package observe
