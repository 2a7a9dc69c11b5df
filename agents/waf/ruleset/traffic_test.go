package ruleset

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol"
)

// words are what innocent requests are about: in several scripts, and some of them close to what rules look for.
var words = strings.Fields(`apple river Selection mountain order cat update news union-square House blue 2024 london café München naïve Größe 東京 日本語 москва привет information window running where from select-all group table
	insert-coin O'Brien rock&roll AT&T C++ node.js user@example.com +44-20-7946-0958 12.50 100% first_name https://example.com/a/b?c=d 550e8400-e29b-41d4-a716-446655440000 eyJhbGciOiJIUzI1NiJ9 true null (draft) "quoted" semi;colon a/b/c ~tilde #tag 5>3 x=1 …
	delivery address summer winter price description comment title author rating between system process image video audio document download search results category product customer account profile settings language country street and or not like order-by limit script style object data date time zone`)

var agents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "curl/8.5.0", "okhttp/4.12.0", "shop-app/3.2 (Android 14; de-DE)",
}

// traffic makes requests such as a shop or a programming interface gets.
type traffic struct{ *rand.Rand }

func (r traffic) word() string { return words[r.IntN(len(words))] }

func (r traffic) phrase(most int) string {
	out := r.word()
	for range r.IntN(most) {
		out += " " + r.word()
	}
	return out
}

func (r traffic) one(list ...string) string { return list[r.IntN(len(list))] }

func (r traffic) token(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[r.IntN(64)]
	}
	return string(b)
}

func (r traffic) path() string {
	out := ""
	for range 1 + r.IntN(4) {
		out += "/" + url.PathEscape(r.one(r.word(), r.token(6), fmt.Sprint(r.IntN(100_000)), "api", "v2", "static"))
	}
	return out + r.one("", "", "", "/", ".html", ".js", ".png", ".json")
}

func (r traffic) form(most int) string {
	v := url.Values{}
	for range r.IntN(most + 1) {
		v.Add(r.one("q", "page", "sort", "id", "filter[]", "user.name", "utm_source", "lang", r.token(4)), r.one(fmt.Sprint(r.IntN(1000)), r.word(), r.phrase(5), r.token(20), ""))
	}
	return v.Encode()
}

func (r traffic) value(depth int) any {
	switch r.IntN(7) {
	case 0:
		return r.IntN(1_000_000)
	case 1:
		return r.Float64() * 100
	case 2:
		return r.IntN(2) == 0
	case 3:
		if depth > 0 {
			list := []any{}
			for range r.IntN(4) {
				list = append(list, r.value(depth-1))
			}
			return list
		}
	case 4:
		if depth > 0 {
			return r.object(depth - 1)
		}
	}
	return r.phrase(8)
}

func (r traffic) object(depth int) map[string]any {
	m := map[string]any{}
	for range 1 + r.IntN(6) {
		m[r.one("id", "name", "title", "items", "createdAt", "is_active", "price", r.token(5))] = r.value(depth)
	}
	return m
}

// request makes one request.
func (r traffic) request() sample {
	s := sample{head: protocol.RequestHeaders{Method: "GET", URI: r.path()}}
	s.head.Metadata = protocol.Metadata{Protocol: r.one("HTTP/1.1", "HTTP/2.0"), ClientIP: r.one("198.51.100.7", "2001:db8::7"), CorrelationID: "c"}
	if q := r.form(5); q != "" && r.IntN(3) > 0 {
		s.head.URI += "?" + q
	}
	s.header("host", r.one("shop.example", "api.example.com:8443", "www.example.org"))
	s.header("user-agent", agents[r.IntN(len(agents))])
	s.header("accept", r.one("*/*", "application/json", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"))
	s.header("accept-encoding", "gzip, deflate, br")
	s.header("accept-language", r.one("en-GB,en;q=0.9", "de-DE,de;q=0.8,en-US;q=0.5", "ja"))
	s.optional()(r)
	switch r.IntN(6) {
	case 0:
		s.head.Method = "POST"
		s.header("content-type", r.one("application/json", "application/json; charset=utf-8"))
		s.body, _ = json.Marshal(r.object(3))
	case 1:
		s.head.Method = "POST"
		s.header("content-type", "application/x-www-form-urlencoded")
		s.body = []byte(r.form(8))
	}
	if s.head.Method == "POST" {
		s.header("content-length", fmt.Sprint(len(s.body)))
	}
	return s
}

// optional adds fields that not every request has.
func (s *sample) optional() func(traffic) {
	return func(r traffic) {
		for name, value := range map[string]string{
			"cookie":          "sid=" + r.token(32) + "; theme=dark; _ga=GA1.2." + fmt.Sprint(r.IntN(1e9), ".", r.IntN(1e9)) + "; cart=" + url.QueryEscape(r.phrase(3)),
			"referer":         "https://www.example.org" + r.path(),
			"origin":          "https://shop.example",
			"x-request-id":    r.token(24),
			"authorization":   "Bearer " + r.token(80),
			"if-none-match":   `W/"` + r.token(16) + `"`,
			"sec-fetch-mode":  "navigate",
			"sec-ch-ua":       `"Chromium";v="131", "Not_A Brand";v="24"`,
			"x-forwarded-for": "203.0.113.9, 10.0.0.1",
			"cache-control":   "max-age=0",
		} {
			if r.IntN(2) == 0 {
				s.header(name, value)
			}
		}
	}
}
