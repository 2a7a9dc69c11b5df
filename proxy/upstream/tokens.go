package upstream

import (
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
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
		if n, err := strconv.ParseUint(string(fieldValue(r.Fields, e.field, e.header)), 10, 63); err == nil {
			return int64(min(n, maxTokens))
		}
	}
	length := r.Length
	if length < 0 {
		length = unknownBody
	}
	return min((length+e.bytesPerToken-1)/e.bytesPerToken, maxTokens)
}
