package server

import (
	"bytes"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

var challengePrefix = []byte(tlsconf.ChallengePrefix)

// prove answers an ACME server that looks for the proof that a name is ours, before any route. It reports whether that was it; a path without a proof is a
// path like any other.
func (c *conn) prove(w *work, path []byte) bool {
	if !bytes.HasPrefix(path, challengePrefix) || w.req.MethodID != http1.MethodGet {
		return false
	}
	proof := w.gen.Challenges.Path(path)
	if proof == nil {
		return false
	}
	h := &w.plain
	h.Reset(nil)
	h.AddView(http1.Field{Name: nameContentType, Value: valueText, ID: http1.ContentType})
	c.answer(w, 200, h, proof)
	return true
}

var valueText = []byte("text/plain")
