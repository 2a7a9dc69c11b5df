package filter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

func parsed(t testing.TB, lines ...string) *Header {
	t.Helper()
	var r http1.Request
	raw := "GET / HTTP/1.1\r\n" + strings.Join(append([]string{"Host: h"}, lines...), "\r\n") + "\r\n\r\n"
	if _, refusal := r.Parse([]byte(raw), nil); refusal != nil {
		t.Fatal(refusal)
	}
	h := &Header{}
	h.Reset(r.Fields)
	return h
}

func show(h *Header) string {
	var b strings.Builder
	for i := range h.Len() {
		n, v := h.At(i)
		fmt.Fprintf(&b, "%s=%s;", n, v)
	}
	return b.String()
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Header) error
		want   string
		fails  bool
	}{
		"nothing":          {func(h *Header) error { return nil }, "Host=h;A=1;B=2;a=3;", false},
		"add":              {func(h *Header) error { return h.Add("A", "4") }, "Host=h;A=1;B=2;a=3;A=4;", false},
		"set keeps place":  {func(h *Header) error { return h.Set("a", "9") }, "Host=h;a=9;B=2;", false},
		"set new":          {func(h *Header) error { return h.Set("C", "") }, "Host=h;A=1;B=2;a=3;C=;", false},
		"rename":           {func(h *Header) error { return h.Rename("A", "Z") }, "Host=h;Z=1;B=2;Z=3;", false},
		"remove":           {func(h *Header) error { h.Remove("a"); return nil }, "Host=h;B=2;", false},
		"remove none":      {func(h *Header) error { h.Remove("nobody"); return nil }, "Host=h;A=1;B=2;a=3;", false},
		"injected line":    {func(h *Header) error { return h.Add("X", "a\r\nEvil: 1") }, "Host=h;A=1;B=2;a=3;", true},
		"injected name":    {func(h *Header) error { return h.Set("X: 1\r\nEvil", "a") }, "Host=h;A=1;B=2;a=3;", true},
		"empty name":       {func(h *Header) error { return h.Add("", "a") }, "Host=h;A=1;B=2;a=3;", true},
		"length":           {func(h *Header) error { return h.Set("content-LENGTH", "1") }, "Host=h;A=1;B=2;a=3;", true},
		"coding":           {func(h *Header) error { return h.Add("Transfer-Encoding", "chunked") }, "Host=h;A=1;B=2;a=3;", true},
		"rename to length": {func(h *Header) error { return h.Rename("A", "Content-Length") }, "Host=h;A=1;B=2;a=3;", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := parsed(t, "A: 1", "Connection: B2, close", "B: 2", "a: 3", "B2: gone")
			if err := c.change(h); (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			if got := show(h); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Views handed out before the arena grew stay as they were.
func TestHeaderViewsStay(t *testing.T) {
	t.Parallel()
	h := parsed(t)
	_ = h.Add("First", "value")
	v := h.Get("first")
	for i := range 1000 {
		_ = h.Add(fmt.Sprint("X-", i), strings.Repeat("y", 50))
	}
	if string(v) != "value" || string(h.Get("First")) != "value" || string(h.Get("X-999")) != strings.Repeat("y", 50) {
		t.Fatalf("%q %q", v, h.Get("First"))
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	pair := func(n, v string) []config.NameValue { return []config.NameValue{{Name: n, Value: v}} }
	r, err := CompileRules(config.HeaderRules{Rename: pair("A", "B"), Set: pair("B", "set"), Add: pair("B", "more"), Remove: []string{"C"}})
	if err != nil {
		t.Fatal(err)
	}
	h := parsed(t, "A: 1", "C: 2")
	r.Apply(h)
	if got := show(h); got != "Host=h;B=set;B=more;" {
		t.Error(got)
	}
	if r, err := CompileRules(config.HeaderRules{}); r != nil || err != nil {
		t.Error(r, err)
	}
	(*Rules)(nil).Apply(h)
	for _, bad := range []config.HeaderRules{
		{Set: pair("Content-Length", "1")}, {Add: pair("X", "a\nb")}, {Remove: []string{"Connection"}}, {Rename: pair("A", "b c")}, {Rename: pair("Upgrade", "X")},
	} {
		if _, err := CompileRules(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestDropForwarding(t *testing.T) {
	t.Parallel()
	lines := []string{"X-Forwarded-For: 1.1.1.1", "Keep: 1", "X-Forwarded-For: 2.2.2.2", "X-Real-IP: 3", "X-Forwarded-Proto: https", "Forwarded: for=1", "X-Request-Id: q", "Via: v"}
	h := parsed(t, lines...)
	if f := h.DropForwarding(true); f.For != nil || f.Proto || show(h) != "Host=h;Keep=1;Via=v;" {
		t.Error(f, show(h))
	}
	h = parsed(t, lines...)
	f := h.DropForwarding(false)
	if string(f.For) != "1.1.1.1, 2.2.2.2" || string(f.Forwarded) != "for=1" || !f.Proto || f.Host {
		t.Errorf("%q %q %v", f.For, f.Forwarded, f)
	}
	if got := show(h); got != "Host=h;Keep=1;X-Real-IP=3;X-Forwarded-Proto=https;Via=v;" {
		t.Error(got)
	}
}

// Whatever is done to a header, what comes out parses again to the same fields: no operation can smuggle a line.
func FuzzHeader(f *testing.F) {
	f.Add("A", "1", "B", "2", "A")
	f.Add("Host", "x", "Content-Length", "5", "Host")
	f.Add("X: y\r\nZ", "v\r\nEvil: 1", "", "\x00", "Connection")
	f.Add("é", "ü", "A\t", " padded ", "b")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3 string) {
		h := parsed(t, "A: 1", "B: 2")
		_ = h.Add(n1, v1)
		_ = h.Set(n2, v2)
		_ = h.Rename(n3, n1)
		h.Remove(n3)
		raw := append(http1.AppendEndToEnd([]byte("HTTP/1.1 200 OK\r\n"), h.Fields()), "\r\n"...)
		var r http1.Response
		limits := http1.Limits{MaxHeadBytes: 1 << 20}
		n, refusal := r.Parse(raw, http1.MethodHead, &limits)
		if refusal != nil || n != len(raw) {
			t.Fatalf("%q does not parse: %v, %d of %d", raw, refusal, n, len(raw))
		}
		if len(r.Fields) != h.Len() {
			t.Fatalf("%q has %d fields, want %d", raw, len(r.Fields), h.Len())
		}
		for i := range r.Fields {
			name, value := h.At(i)
			if string(r.Fields[i].Name) != string(name) || string(r.Fields[i].Value) != strings.Trim(string(value), " \t") {
				t.Fatalf("field %d is %q: %q, want %q: %q", i, r.Fields[i].Name, r.Fields[i].Value, name, value)
			}
		}
	})
}
