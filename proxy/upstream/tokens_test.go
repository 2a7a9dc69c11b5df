package upstream

import (
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

func TestTokenEstimate(t *testing.T) {
	t.Parallel()
	e := newTokenEstimate(&config.Balancing{BytesPerToken: 4, TokensHeader: "X-Tokens"})
	said := func(v string) []http1.Field { return []http1.Field{{Name: []byte("x-tokens"), Value: []byte(v)}} }
	for _, c := range []struct {
		fields []http1.Field
		length int64
		want   int64
	}{
		{nil, 0, 0}, {nil, 1, 1}, {nil, 400, 100}, {nil, -1, 4096}, {nil, 1 << 62, maxTokens},
		{said("17"), 400, 17}, {said("0"), 400, 0}, {said("9223372036854775807"), 400, maxTokens},
		{said("-5"), 400, 100}, {said("99999999999999999999"), 400, 100}, {said("many"), 400, 100}, {said(""), 400, 100},
	} {
		if got := e.of(&Request{Fields: c.fields, Length: c.length}); got != c.want {
			t.Errorf("%d fields, %d bytes: %d tokens, want %d", len(c.fields), c.length, got, c.want)
		}
	}
}

// What Pick counts, Done gives back, whatever the target and the outcome; other algorithms count nothing.
func TestTokensComeBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"least-tokens-queued", "least-connections"} {
		cfg := upstreamConfig("127.0.0.1:1", "127.0.0.1:2")
		cfg.LoadBalancing, cfg.Balancing.BytesPerToken, cfg.Balancing.SlowStart = kind, 1, 1<<40
		cfg.Breaker = &config.Breaker{Failures: 3, Successes: 1, OpenFor: 1, HalfOpen: 1}
		p := newTestPool(t, cfg, testDeps())
		queued := func() (n int64) {
			for _, one := range p.targets {
				n += one.endpoint.queued.Load()
			}
			return n
		}
		want := int64(0)
		if kind == "least-tokens-queued" {
			want = 70
		}
		for i := range 50 {
			var h balance.Hint
			p.Place(&h, &Request{Length: 70})
			picked, err := p.Pick(&h)
			if err != nil {
				continue // every circuit is open in this moment
			}
			if n := queued(); n != want {
				t.Fatalf("%s: %d tokens wait, want %d", kind, n, want)
			}
			picked.Done([]observe.Failure{observe.FailureConnect, observe.FailureNone, observe.FailureCanceled}[i%3], &h)
			if n := queued(); n != 0 {
				t.Fatalf("%s: %d tokens are left", kind, n)
			}
		}
	}
}
