package main

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
)

// exchanges are innocent and hostile ones, with bodies of every kind and beyond the limit.
var exchanges = []exchange{
	{target: "/shop?page=2&q=blue+bike"},
	{target: "/shop?q=1'+OR+1=1--+"},
	{target: "/"},
	{method: "POST", target: "/api", kind: "application/json", body: `{"name":"Anna","items":[1,2,{"note":"in the morning"}]}`},
	{method: "POST", target: "/api", kind: "application/json", body: `{"name":"<script>alert(1)</script>"}`},
	{method: "POST", target: "/api", kind: "application/json", body: `{"name":`},
	{method: "POST", target: "/form", kind: "application/x-www-form-urlencoded", body: "name=Anna&city=Bern"},
	{method: "POST", target: "/form", kind: "application/x-www-form-urlencoded", body: "name=%3Cscript%3Ealert(1)%3C/script%3E"},
	{method: "POST", target: "/form", kind: "application/x-www-form-urlencoded", body: "name=" + strings.Repeat("a", 3000)},
	{method: "POST", target: "/xml", kind: "application/xml", body: "<a>b</a>"},
	{method: "POST", target: "/up", kind: "multipart/form-data; boundary=x", body: "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"},
	{method: "TRACE", target: "/"},
	{target: "/a\x01b"},
}

func TestVerdictsAreTheSame(t *testing.T) {
	for _, more := range []string{``, `,"mode":"detection"`, `,"request-body-over-limit":"partial"`, `,"inspect-responses":true`} {
		with, without := fresh(t, `{"request-body-limit-bytes":2000`+more+`}`), fresh(t, `{"fast-path":false,"request-body-limit-bytes":2000`+more+`}`)
		for _, x := range exchanges {
			x.answer = "hello"
			if got, want := judge(t, with, x), judge(t, without, x); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s %s %.40s: %+v with the fast path, %+v without", more, x.method, x.target, x.body, got, want)
			}
		}
		skipped := with.count.skipped.Load()
		if responses := strings.Contains(more, "inspect-responses"); (skipped == 0) != responses {
			t.Errorf("%s: %d judgements without the engine", more, skipped)
		}
		if n := without.count.skipped.Load(); n != 0 {
			t.Errorf("%d judgements without the engine although that is switched off", n)
		}
	}
}

func TestFastPathIsCounted(t *testing.T) {
	w := fresh(t, `{}`)
	judge(t, w, exchange{target: "/shop?page=2"})
	judge(t, w, exchange{target: "/shop?q=1'+OR+1=1--+"})
	judge(t, w, exchange{target: "/a\x01b"})
	found := map[string]float64{}
	for _, s := range w.Metrics().Counters {
		if strings.HasPrefix(s.Name, "waf_fast_path") {
			found[s.Name] += s.Value
		}
	}
	if want := (map[string]float64{"waf_fast_path_skipped_total": 1, "waf_fast_path_asked_total": 1, "waf_fast_path_unjudged_total": 1}); !reflect.DeepEqual(found, want) {
		t.Errorf("%v, want %v", found, want)
	}
}

// TestResponsesOfRequestsFromBefore: a configuration that begins to inspect responses says nothing of those whose requests did without the engine.
func TestResponsesOfRequestsFromBefore(t *testing.T) {
	ctx := context.Background()
	w := fresh(t, `{}`)
	r := &protocol.RequestHeaders{Metadata: protocol.Metadata{CorrelationID: "before", RequestID: "r", ClientIP: "192.0.2.1", ClientPort: 1234, Protocol: "HTTP/1.1"}, Method: "GET", URI: "/shop?page=2",
		Headers: protocol.Headers{{Name: "host", Value: "www.example.com"}, {Name: "user-agent", Value: "Mozilla/5.0"}, {Name: "accept", Value: "*/*"}}}
	defer w.Complete(ctx, &protocol.RequestComplete{CorrelationID: "before"})
	if v, err := w.Request(ctx, r); err != nil || v.Action != protocol.ActionAllow || w.count.skipped.Load() != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	if err := w.Configure(ctx, []byte(`{"inspect-responses":true}`)); err != nil {
		t.Fatal(err)
	}
	for what, ask := range map[string]func() (protocol.Verdict, error){
		"head": func() (protocol.Verdict, error) {
			return w.Response(ctx, &protocol.ResponseHeaders{CorrelationID: "before", Status: 200, Headers: protocol.Headers{{Name: "content-type", Value: "text/html"}}})
		},
		"body": func() (protocol.Verdict, error) {
			return w.ResponseBody(ctx, &protocol.BodyChunk{CorrelationID: "before", Data: []byte("hello"), Last: true})
		},
	} {
		if v, err := ask(); err != nil || v.Action != protocol.ActionAllow {
			t.Errorf("%s: %+v %v", what, v, err)
		}
	}
}
