package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func sampleRecord() *AccessRecord {
	return &AccessRecord{
		Time: time.Date(2026, 11, 21, 9, 49, 13, 123e6, time.UTC), Duration: 1234567 * time.Nanosecond,
		RequestID: []byte("2VfUWyGmQt1"), ClientIP: netip.MustParseAddr("::ffff:192.0.2.7"),
		Method: []byte("GET"), Host: []byte("example.com"), Path: []byte("/a/b"), Query: []byte("x=1&y=2"),
		Protocol: "HTTP/1.1", Status: 200, UserAgent: []byte("curl/8.1"), Referer: []byte("https://example.com/"),
		BytesSent: 1024, BytesReceived: 17, Listener: "http", Route: "api", Upstream: "web",
		UpstreamAddr: "10.0.0.1:80", UpstreamAttempts: 2, ConnectionReused: true,
	}
}

func decodeLine(t *testing.T, line []byte) map[string]any {
	t.Helper()
	if bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) {
		t.Fatalf("not exactly one line: %q", line)
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	if err := d.Decode(&m); err != nil {
		t.Fatalf("cannot decode %q: %v", line, err)
	}
	return m
}

func TestAccessJSON(t *testing.T) {
	t.Parallel()
	var clock Clock
	got := decodeLine(t, appendAccessJSON(nil, sampleRecord(), &clock, "i-1"))
	want := map[string]any{
		"timestamp": "2026-11-21T09:49:13.123Z", "trace_id": "2VfUWyGmQt1", "request_id": "2VfUWyGmQt1",
		"method": "GET", "host": "example.com", "path": "/a/b", "query": "x=1&y=2", "protocol": "HTTP/1.1",
		"status": 200.0, "duration_ms": 1.234, "client_ip": "192.0.2.7", "user_agent": "curl/8.1",
		"referer": "https://example.com/", "body_bytes_sent": 1024.0, "bytes_received": 17.0, "listener": "http",
		"route_id": "api", "upstream": "web", "upstream_addr": "10.0.0.1:80", "upstream_attempts": 2.0,
		"connection_reused": true, "instance_id": "i-1",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestAccessJSONOfARefusedMessage(t *testing.T) {
	t.Parallel()
	var clock Clock
	r := &AccessRecord{Time: time.Unix(0, 0), Status: 400, Refusal: "bad-request-line", Duration: -5}
	got := decodeLine(t, appendAccessJSON(nil, r, &clock, ""))
	for key, want := range map[string]any{"status": 400.0, "refusal": "bad-request-line", "method": "", "client_ip": "unix", "duration_ms": 0.0} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	for _, key := range []string{"query", "upstream", "upstream_addr", "connection_reused", "agent", "route_id", "instance_id"} {
		if v, ok := got[key]; ok {
			t.Errorf("%s is there: %v", key, v)
		}
	}
}

func TestAuditJSON(t *testing.T) {
	t.Parallel()
	var clock Clock
	r := &AuditRecord{
		Time: time.Unix(1_700_000_000, 0), Event: EventBlocked, RequestID: []byte("id"), Method: []byte("GET"), Path: []byte("/x\""),
		ClientIP: netip.MustParseAddr("2001:db8::1"), Route: "api", Reason: "listed\n", Phase: "request_headers", Agent: "denylist", RuleIDs: []string{"r1", "r2"},
		Tags: []string{"a\"b"}, Action: "block", Status: 403, Metadata: []Pair{{"list", "ips"}, {"k\"", "v"}}, Generation: 7,
	}
	got := decodeLine(t, appendAuditJSON(nil, r, &clock, "i"))
	want := map[string]any{
		"timestamp": "2023-11-14T22:13:20.000Z", "event_type": "blocked", "request_id": "id", "method": "GET", "path": "/x\"",
		"client_ip": "2001:db8::1", "route_id": "api", "reason": "listed\n", "phase": "request_headers", "agent_id": "denylist", "rule_ids": []any{"r1", "r2"},
		"tags": []any{"a\"b"}, "action": "block", "status_code": 403.0, "metadata": map[string]any{"list": "ips", "k\"": "v"},
		"generation": 7.0, "instance_id": "i",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if bare := decodeLine(t, appendAuditJSON(nil, &AuditRecord{Event: EventConfigChange}, &clock, "")); len(bare) != 2 {
		t.Errorf("a bare event has %v", bare)
	}
}

func TestCombined(t *testing.T) {
	t.Parallel()
	var clock Clock
	got := string(appendCombined(nil, sampleRecord(), &clock))
	want := `192.0.2.7 - - [21/Nov/2026:09:49:13 +0000] "GET /a/b?x=1&y=2 HTTP/1.1" 200 1024 "https://example.com/" "curl/8.1" 2VfUWyGmQt1 1.234ms 10.0.0.1:80` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r := &AccessRecord{Time: time.Unix(0, 0), Status: 400, UserAgent: []byte("a\"b\\\r\n\x1b[31m\xff")}
	got = string(appendCombined(nil, r, &clock))
	want = `unix - - [01/Jan/1970:00:00:00 +0000] "-" 400 0 "-" "a\x22b\x5C\x0D\x0A\x1B[31m\xFF" - 0.000ms -` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("a"), maxField+1)
	if got := appendQuoted(nil, long); len(got) != maxField+5 || !bytes.HasSuffix(got, []byte(`a..."`)) {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-8:])
	}
	if got := appendQuoted(nil, long[:maxField]); len(got) != maxField+2 {
		t.Errorf("a field that fits has %d bytes", len(got))
	}
	if got := appendHexEscaped(nil, long); len(got) != maxField+3 {
		t.Errorf("%d bytes in combined", len(got))
	}
}

func TestPlainPrefix(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for pos := range 20 {
			s := strings.Repeat("x", pos) + string([]byte{byte(c)}) + strings.Repeat("y", 9)
			want := len(s)
			if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
				want = pos
			}
			if got := plainPrefix(s); got != want {
				t.Fatalf("byte %#x at %d: got %d, want %d", c, pos, got, want)
			}
		}
	}
}

var hostile = []string{
	"", "plain", `"`, `\`, "\x00", "a\nb", "\r\n", "\x7f", "\xff\xfe", "\xed\xa0\x80", "é", "\u0085", "\u2028\u2029", "\x1b[2J",
	`","status":200,"x":"`, "ünïcödé", "\xf0\x9f\x98\x80", "\xf0\x9f\x98", strings.Repeat("a\"", 50), "</script>", "12345678\"", "1234567\\8",
}

func FuzzAccessLine(f *testing.F) {
	for i, s := range hostile {
		f.Add([]byte(s), []byte(hostile[(i+7)%len(hostile)]))
	}
	combined := regexp.MustCompile(`^192\.0\.2\.7 - - \[[^]]*\] "[ -!#-~]*" \d{3} \d+ "[ -!#-~]*" "[ -!#-~]*" [ -!#-~]* [0-9.]+ms [ -!#-~]*\n$`)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) > maxField || len(b) > maxField {
			return
		}
		var clock Clock
		r := sampleRecord()
		r.Method, r.Path, r.UserAgent, r.RequestID, r.Host = a, b, a, a, b
		r.UpstreamAddr = string(b)
		line := appendAccessJSON(nil, r, &clock, "i")
		got := decodeLine(t, line)
		for key, want := range map[string][]byte{"method": a, "path": b, "user_agent": a, "request_id": a, "host": b} {
			s, ok := got[key].(string)
			if s != string([]rune(string(want))) || !ok && len(want) > 0 {
				t.Errorf("%s is %q, want %q", key, s, want)
			}
		}
		if got["status"] != 200.0 || got["instance_id"] != "i" {
			t.Errorf("a value changed other fields: %s", line)
		}
		for _, c := range string(line[:len(line)-1]) {
			if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
				t.Errorf("control character %U in %q", c, line)
			}
		}
		if line := appendCombined(nil, r, &clock); !combined.Match(line) {
			t.Errorf("combined line is %q", line)
		}
	})
}

func BenchmarkAccessJSON(b *testing.B) {
	benchmarkAccess(b, JSON)
}

func BenchmarkAccessCombined(b *testing.B) {
	benchmarkAccess(b, Combined)
}

// benchmarkAccess measures the caller's whole cost; the writer discards. It runs in parallel like requests do.
func benchmarkAccess(b *testing.B, f Format) {
	var clock Clock
	l, err := OpenAccessLog(LogOptions{Output: discard{}, Records: 1 << 20}, f, "i-0123456789", &clock)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var stripe atomic.Uint32
	b.RunParallel(func(pb *testing.PB) {
		r := sampleRecord()
		r.Stripe = stripe.Add(1)
		r.UserAgent = []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
		for pb.Next() {
			l.Append(r)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(l.sink.metrics.Dropped.Load())/float64(b.N), "dropped/op")
	l.Close(b.Context())
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
