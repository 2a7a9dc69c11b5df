package upstream

import (
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// tokenEstimate is how many tokens a request is taken for.
type tokenEstimate struct {
	bytesPerToken int64
	header        string // "" = none
	field         http1.FieldID
}

const (
	unknownBody = 16 << 10 // bytes of a body whose length is not said
	maxTokens   = 1 << 30  // that a request may be taken for, so that sums stay sums
)

func newTokenEstimate(b *config.Balancing) *tokenEstimate {
	return &tokenEstimate{max(1, int64(b.BytesPerToken)), b.TokensHeader, http1.LookupField([]byte(b.TokensHeader))}
}

// of is what the header says, if it says a number, else an estimate by the length of the body.
func (e *tokenEstimate) of(r *Request) int64 {
	if e.header != "" {
		for i := range r.Fields {
			f := &r.Fields[i]
			if f.ID != e.field || f.ID == http1.Unknown && !http1.EqualFold(f.Name, e.header) {
				continue
			}
			if n, err := strconv.ParseUint(string(f.Value), 10, 63); err == nil {
				return int64(min(n, maxTokens))
			}
			break
		}
	}
	length := r.Length
	if length < 0 {
		length = unknownBody
	}
	return min((length+e.bytesPerToken-1)/e.bytesPerToken, maxTokens)
}

// enqueue counts the tokens of a request on the target that is chosen for it.
func (t *Target) enqueue(h *balance.Hint) {
	if t.pool.placing.tokens != nil {
		t.endpoint.stats.Enqueue(h.Tokens())
	}
}

// Dequeue takes the tokens of a request off the target that Pick chose for it, with the hint as it was then. It is called with Done.
func (t *Target) Dequeue(h *balance.Hint) {
	if t.pool.placing.tokens != nil {
		t.endpoint.stats.Dequeue(h.Tokens())
	}
}
