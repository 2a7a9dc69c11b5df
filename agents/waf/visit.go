package main

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
	"github.com/sentinel-stack/sentinel/agents/waf/ruleset"
	"github.com/sentinel-stack/sentinel/protocol"
)

// visit is one exchange from its head to its end.
type visit struct {
	rules   *inForce
	request *protocol.RequestHeaders
	gone    atomic.Bool // nobody will ask again
	told    map[int]bool
	key     string

	mu     sync.Mutex        // held by whoever handles an event
	x      *ruleset.Exchange // nil: the engine has not been asked
	whole  bool              // the body is being given to x
	held   []byte            // the body so far, while it may still be that the engine need not be asked
	closed bool
	fast   func(why int) // is told of each answer of the fast path
}

// newVisit keeps a copy of the head: the event's strings share memory with its message.
func newVisit(rules *inForce, r *protocol.RequestHeaders, fast func(why int)) *visit {
	c := *r
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i] = protocol.Header{Name: strings.Clone(c.Headers[i].Name), Value: strings.Clone(c.Headers[i].Value)}
	}
	m := &c.Metadata
	c.Method, c.URI = strings.Clone(c.Method), strings.Clone(c.URI)
	for _, s := range []*string{&m.CorrelationID, &m.RequestID, &m.ClientIP, &m.ServerName, &m.Protocol, &m.TLSVersion, &m.TLSCipher, &m.RouteID, &m.UpstreamID, &m.Timestamp, &m.Traceparent} {
		*s = strings.Clone(*s)
	}
	return &visit{rules: rules, request: &c, key: m.CorrelationID, told: map[int]bool{}, fast: fast}
}

// head runs the rules on the head as if no body followed, unless none can fire.
func (v *visit) head() (*ruleset.Refusal, error) {
	if v.skips(nil) {
		return nil, nil
	}
	x, refusal := v.rules.set.Begin(v.request)
	v.x = x
	if refusal != nil {
		return refusal, nil
	}
	return x.EndRequest()
}

// skips asks the fast path whether no rule can fire on the head, with a body or without.
func (v *visit) skips(body []byte) bool {
	if !v.rules.set.FastPath() {
		return false
	}
	why := v.rules.set.Skip(v.request, body)
	v.fast(why)
	return why == prefilter.Clean
}

// requestBody begins anew with the head when a body does follow, and runs the rules once the body is complete. Up to its end, or the limit, it is held: the whole may be such that no rule can fire.
func (v *visit) requestBody(c *protocol.BodyChunk) (refusal *ruleset.Refusal, done bool, err error) {
	if !v.whole && len(c.Data) == 0 && c.Last && v.held == nil {
		return nil, true, nil // no body after all; the head has been judged
	}
	data := c.Data
	if !v.whole && v.rules.set.FastPath() {
		if v.held = append(v.held, data...); len(v.held) < v.rules.set.Config.RequestBodyLimit {
			if !c.Last {
				return nil, false, nil
			}
			if v.skips(v.held) {
				v.held = nil
				return nil, true, nil
			}
		}
		data, v.held = v.held, nil
	}
	if refusal, err = v.write(data); refusal != nil || err != nil {
		return refusal, true, err
	}
	if !c.Last {
		return nil, false, nil
	}
	refusal, err = v.x.EndRequest()
	return refusal, true, err
}

// write gives the engine a piece of the body, the first time after the head.
func (v *visit) write(data []byte) (refusal *ruleset.Refusal, err error) {
	if !v.whole {
		if v.x != nil {
			v.x.Close()
		}
		v.whole = true
		if v.x, refusal = v.rules.set.Begin(v.request); refusal != nil {
			return refusal, nil
		}
	}
	if len(data) == 0 {
		return nil, nil
	}
	return v.x.Write(data)
}

// response runs the rules on a response. When the engine was not asked about the request, by the rules of then responses were not inspected.
func (v *visit) response(r *protocol.ResponseHeaders) *ruleset.Refusal {
	if v.x == nil {
		return nil
	}
	return v.x.Response(r)
}

func (v *visit) responseBody(c *protocol.BodyChunk) (*ruleset.Refusal, error) {
	if v.x == nil {
		return nil, nil
	}
	if len(c.Data) > 0 {
		if refusal, err := v.x.WriteResponse(c.Data); refusal != nil || err != nil {
			return refusal, err
		}
	}
	if !c.Last {
		return nil, nil
	}
	return v.x.EndResponse()
}

// matches returns the rules that fired and were not told yet: those of the head fire again when the body is judged.
func (v *visit) matches() []ruleset.Match {
	if v.x == nil {
		return nil
	}
	return slices.DeleteFunc(v.x.Matches(), func(m ruleset.Match) bool {
		again := v.told[m.ID]
		v.told[m.ID] = true
		return again
	})
}

// leave ends the handling of an event; a visit that was dropped meanwhile is closed.
func (v *visit) leave() {
	v.mu.Unlock()
	v.closeIfGone()
}

// drop says that nobody will ask again. It does not wait for a handler at work.
func (v *visit) drop() {
	v.gone.Store(true)
	v.closeIfGone()
}

func (v *visit) closeIfGone() {
	if v.gone.Load() && v.mu.TryLock() {
		v.close()
		v.mu.Unlock()
	}
}

// close gives the exchange back. It is called with mu held, or before anybody else knows the visit.
func (v *visit) close() {
	v.closed, v.held = true, nil
	if v.x != nil {
		v.x.Close()
		v.x = nil
	}
}
