package view

import "testing"

func TestCondense(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain text": "plain text",
		`{"timestamp":"t","request_id":"r1","method":"GET","path":"/a b","status":403,"user_agent":"x y","instance_id":"i"}`: "GET /a b status=403 request_id=r1 user_agent='x y'",
		`{"time":"t","level":"INFO","msg":"listening","address":"a:1","tags":["x","y"],"n":null,"e":""}`:                     `listening address=a:1 tags=["x","y"] n=null`,
		`{"broken`: `{"broken`, `{}`: `{}`, `{"a":1} tail}`: "a=1", `{"a":}`: `{"a":}`, `{1:2}`: `{1:2}`,
	} {
		if got := condense(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	if got := requestID(`{"a":1,"request_id":"r1"}`); got != "r1" {
		t.Errorf("request id %q", got)
	}
}

func FuzzCondense(f *testing.F) {
	f.Add(`{"msg":"x","a":{"b":[1,2]}}`)
	f.Add(`{"a":"\ud800"}`)
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		condense(text)
		requestID(text)
	})
}
