package ruleset

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
	"github.com/sentinel-stack/sentinel/protocol"
)

func cleanGET() sample {
	s := sample{head: protocol.RequestHeaders{Method: "GET", URI: "/shop/list?page=2&sort=price&q=blue+mountain+bike"}}
	s.head.Metadata = protocol.Metadata{Protocol: "HTTP/1.1", ClientIP: "198.51.100.7", CorrelationID: "c"}
	for _, h := range [][2]string{{"host", "shop.example"}, {"user-agent", agents[0]}, {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"accept-encoding", "gzip, deflate, br"},
		{"accept-language", "en-GB,en;q=0.9"}, {"cookie", "sid=0123456789abcdef0123456789abcdef; theme=dark"}} {
		s.header(h[0], h[1])
	}
	return s
}

func cleanPOST() sample {
	s := cleanGET()
	s.head.Method, s.head.URI = "POST", "/api/v2/orders"
	s.header("content-type", "application/json")
	s.header("content-length", "1100")
	r := traffic{rand.New(rand.NewPCG(4, 4))}
	items := []any{}
	for len(s.body) < 1024 {
		items = append(items, map[string]any{"sku": r.token(8), "title": "blue mountain bike", "price": 12.5, "count": 3, "note": "please deliver in the morning"})
		s.body, _ = json.Marshal(map[string]any{"customer": "Anna Meyer", "email": "anna@example.com", "items": items})
	}
	return s
}

func BenchmarkFastPath(b *testing.B) {
	for name, s := range map[string]sample{"GET": cleanGET(), "POST": cleanPOST()} {
		set := newSet(b, `{}`)
		b.Run(name+"/engine", func(b *testing.B) {
			for b.Loop() {
				if rules, _, _ := set.engineFinds(b, &s); len(rules) > 0 {
					b.Fatal(rules)
				}
			}
		})
		b.Run(name+"/filter", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if id := set.Skip(&s.head, s.body); id != prefilter.Clean {
					b.Fatal(id)
				}
			}
		})
	}
}
