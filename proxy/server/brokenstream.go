package server

import (
	"errors"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// brokenStream is broken for a stream of HTTP/2, where the target can say that it has not looked at the request: then it may be sent again, whatever it is.
func (c *conn) brokenStream(w *work, sent, err error) result {
	if sent != nil {
		err = sent
	}
	if errors.Is(err, multiplex.ErrUnprocessed) {
		w.target.Metrics().Unprocessed.Add(1)
		again := w.replayable()
		return result{kind: observe.FailureRead, code: "upstream_refused_stream", cause: OnReset, retry: again, stale: again}
	}
	res := result{kind: observe.FailureRead, code: "upstream_closed", cause: OnReset}
	if isViolation(err) {
		res.kind, res.code = observe.FailureProtocol, "upstream_http2"
	}
	res.retry = w.replayable() && w.harmless()
	var reset *multiplex.Reset
	res.stale = res.retry && w.reused && !errors.As(err, &reset) && res.kind == observe.FailureRead // a target that resets one stream has seen it
	return res
}

func isViolation(err error) bool {
	var v *multiplex.Violation
	return errors.As(err, &v)
}
