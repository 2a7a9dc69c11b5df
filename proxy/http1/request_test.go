package http1

import (
	"fmt"
	"strings"
	"testing"
)

// parseWhole parses a request given at once.
func parseWhole(raw string, l *Limits) (*Request, int, *Refusal) {
	var r Request
	n, refusal := r.Parse([]byte(raw), l)
	return &r, n, refusal
}

// parsePieces parses a request that comes one byte at a time, in one buffer that never moves.
func parsePieces(raw string, l *Limits) (*Request, int, *Refusal) {
	var r Request
	buf := []byte(raw)
	for i := 1; i <= len(buf); i++ {
		if n, refusal := r.Parse(buf[:i], l); n > 0 || refusal != nil {
			return &r, n, refusal
		}
	}
	return &r, 0, nil
}

func describe(r *Request, n int, refusal *Refusal) string {
	if refusal != nil || n == 0 {
		return fmt.Sprintf("n=%d refusal=%v", n, refusal)
	}
	s := fmt.Sprintf("n=%d %s(%v) target=%q path=%q query=%q,%v host=%q 1.%d %v/%d keep=%v expect=%v upgrade=%q",
		n, r.Method, r.MethodID, r.Target, r.Path, r.Query, r.HasQuery, r.Host, r.Minor, r.Framing, r.ContentLength, r.KeepAlive, r.Expect100, r.Upgrade)
	for _, f := range r.Fields {
		s += fmt.Sprintf("\n%q=%q id=%v hop=%v", f.Name, f.Value, f.ID, f.Hop)
	}
	return s
}

// head writes a request head with CRLF line ends.
func headOf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

const line = "GET / HTTP/1.1"

// refusals lists every rule for request heads with an attack and its innocent twin.
var refusals = []struct {
	name   string
	status int
	code   string
	attack []string
	twin   []string
}{
	{"method token", 400, "bad_method",
		[]string{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\"/ HTTP/1.1\r\n", "\xef\xbb\xbfGET / HTTP/1.1\r\n", "GET,\r\n"},
		[]string{headOf("G!#$%&'*+-.^_`|~9T / HTTP/1.1", "Host: a"), headOf("PROPFIND / HTTP/1.1", "Host: a")}},
	{"method in the wrong case", 400, "method_case",
		[]string{"get / HTTP/1.1\r\n", "Post / HTTP/1.1\r\n", "dELETE / HTTP/1.1\r\n"},
		[]string{headOf("GET / HTTP/1.1", "Host: a"), headOf("gets / HTTP/1.1", "Host: a")}},
	{"method length", 501, "method_too_long",
		[]string{strings.Repeat("A", 33), strings.Repeat("A", 33) + " / HTTP/1.1\r\n"},
		[]string{headOf(strings.Repeat("A", 32)+" / HTTP/1.1", "Host: a")}},
	{"connect", 501, "connect_not_supported",
		[]string{"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT / HTTP/1.1\r\n"},
		[]string{headOf("CONNECTS / HTTP/1.1", "Host: a")}},
	{"one space in the request line", 400, "bad_request_line",
		[]string{"GET  / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n", "GET /  HTTP/1.1\r\n", "GET\t/ HTTP/1.1\r\n", "GET /\tHTTP/1.1\r\n", "GET / \r\n", "GET /\r\n", "GET\r\n", "GET \r\n"},
		[]string{headOf(line, "Host: a")}},
	{"target bytes", 400, "bad_target",
		[]string{"GET /\"x HTTP/1.1\r\n", "GET /#frag HTTP/1.1\r\n", "GET /?a#b HTTP/1.1\r\n", "GET /<x> HTTP/1.1\r\n", "GET /\x80 HTTP/1.1\r\n", "GET /a\\b HTTP/1.1\r\n", "GET /é HTTP/1.1\r\n", "GET /?<script> HTTP/1.1\r\n"},
		[]string{headOf("GET /%22x?a\\b{}|^`%23 HTTP/1.1", "Host: a"), headOf("GET /a{b}|^[]~!$&'()*+,;=:@ HTTP/1.1", "Host: a")}},
	{"target form", 400, "bad_target",
		[]string{"GET a HTTP/1.1\r\n", "GET ?x HTTP/1.1\r\n", "GET a:80 HTTP/1.1\r\n", "GET * HTTP/1.1\r\n", "OPTIONS *? HTTP/1.1\r\n", "OPTIONS ** HTTP/1.1\r\n", "GET ftp://a/ HTTP/1.1\r\n", "GET http:/a HTTP/1.1\r\n",
			"GET http:// HTTP/1.1\r\n", "GET http:///x HTTP/1.1\r\n", "GET http://u@a/ HTTP/1.1\r\n", "GET http://u:p@a/ HTTP/1.1\r\n", "GET http://a:99999/ HTTP/1.1\r\n", "GET file:///etc/passwd HTTP/1.1\r\n", "GET javascript:x HTTP/1.1\r\n", "GET //\\a HTTP/1.1\r\n"},
		[]string{headOf("GET http://a/ HTTP/1.1", "Host: a"), headOf("OPTIONS * HTTP/1.1", "Host: a"), headOf("GET HTTPS://a?x HTTP/1.1", "Host: a"), headOf("GET //a HTTP/1.1", "Host: a")}},
	{"target length", 414, "target_too_long",
		[]string{"GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\n", "GET /" + strings.Repeat("a", 8<<10), "GET /?" + strings.Repeat("a", 9<<10)},
		[]string{headOf("GET /"+strings.Repeat("a", 8<<10-1)+" HTTP/1.1", "Host: a")}},
	{"version form", 400, "bad_version",
		[]string{"GET / http/1.1\r\n", "GET / HTTP/1\r\n", "GET / HTTP/1.10\r\n", "GET / HTTP/11\r\n", "GET / HTTP/1,1\r\n", "GET / HTTP/ 1.1\r\n", "GET / HTTP/1.1 \r\n", "GET / HTTPS/1.1\r\n", "GET / X HTTP/1.1\r\n", "GET / HTTP/1.a\r\n", "GET / HTTP/+1.1\r\n"},
		[]string{headOf("GET / HTTP/1.0")}},
	{"version number", 505, "version_not_supported",
		[]string{"GET / HTTP/2.0\r\n", "GET / HTTP/1.2\r\n", "GET / HTTP/0.9\r\n", "GET / HTTP/9.9\r\n", "GET / HTTP/0.1\r\n"},
		[]string{headOf(line, "Host: a")}},
	{"empty lines before", 400, "leading_empty_lines",
		[]string{"\r\n\r\nGET / HTTP/1.1\r\n"},
		[]string{"\r\n" + headOf(line, "Host: a")}},
	{"bare LF", 400, "bare_lf",
		[]string{"GET / HTTP/1.1\nHost: a\n\n", "\nGET / HTTP/1.1\r\n", "GET /\nHTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "GET / HTTP/1.1\r\nHost\n: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n", "GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n\r\n"},
		[]string{headOf(line, "Host: a", "X: b")}},
	{"bare CR", 400, "bare_cr",
		[]string{"\rGET / HTTP/1.1\r\n", "GET / HTTP/1.1\rHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n"},
		[]string{headOf(line, "Host: a", "X: b")}},
	{"control bytes", 400, "control_byte",
		[]string{"GET /\x00 HTTP/1.1\r\n", "GET /\x7f HTTP/1.1\r\n", "GE\x01T / HTTP/1.1\r\n", headOf(line, "Host: a", "X: a\x00b"), headOf(line, "Host: a", "X: \x0b"), headOf(line, "Host: a", "X: abcdefgh\x7f"), headOf(line, "Host: a", "X: 1234567\x1b89")},
		[]string{headOf(line, "Host: a", "X: a\tb  c \x80\xff")}},
	{"obsolete folding", 400, "obsolete_line_folding",
		[]string{headOf(line, "Host: a", " b"), headOf(line, "\tHost: a"), headOf(line, " Host: a", "Host: b"), headOf(line, "Host: a", "X: b", "\tc"), headOf(line, " ")},
		[]string{headOf(line, "Host: a", "X: b c")}},
	{"field name token", 400, "bad_field_name",
		[]string{headOf(line, "Host: a", "X(: b"), headOf(line, "Host: a", "X\x00: b"), headOf(line, "Host: a", "\x80: b"), headOf(line, "Host: a", "X\"Y\": b"), headOf(line, "Host: a", "X/Y: b"), headOf(line, "Host: a", "X;Y: b"), headOf(line, "Host: a", "{x}: b")},
		[]string{headOf(line, "Host: a", "X!#$%&'*+-.^_`|~9: b")}},
	{"line without colon", 400, "bad_field_name",
		[]string{headOf(line, "Host: a", "Xb"), headOf(line, "Ho\rst: a")}, []string{headOf(line, "Host: a", "X:b")}},
	{"empty field name", 400, "empty_field_name",
		[]string{headOf(line, "Host: a", ": b"), headOf(line, ":")}, []string{headOf(line, "Host: a", "b:")}},
	{"space before colon", 400, "space_before_colon",
		[]string{headOf(line, "Host : a"), headOf(line, "Host: a", "Content-Length : 5"), headOf(line, "Host: a", "X\t: b"), headOf(line, "Host: a", "X Y: b")},
		[]string{headOf(line, "Host: a", "X:\t b")}},
	{"alias of a known field", 400, "field_name_alias",
		[]string{headOf(line, "Host: a", "Content_Length: 5"), headOf(line, "Host: a", "x_forwarded-for: 1"), headOf(line, "Host: a", "TRANSFER_ENCODING: chunked")},
		[]string{headOf(line, "Host: a", "X_Custom_Name: 5", "_: x", "content_lengths: 5")}},
	{"head size", 431, "head_too_large",
		[]string{headOf(line, "Host: a", "X: "+strings.Repeat("a", 16<<10)), headOf(line, "Host: a", strings.Repeat("X", 17<<10)+": a"), strings.TrimSuffix(headOf(line, "Host: a", "X: "+strings.Repeat("a", 16<<10-31)), "\r\n\r\n") + "\r\n\r"},
		[]string{headOf(line, "Host: a", "X: "+strings.Repeat("a", 16<<10-32))}},
	{"number of fields", 431, "too_many_fields",
		[]string{headOf(line, "Host: a"+strings.Repeat("\r\nX: b", 100)), headOf(line, "Host: a"+strings.Repeat("\r\n:", 0)+strings.Repeat("\r\nX:", 200))},
		[]string{headOf(line, "Host: a"+strings.Repeat("\r\nX: b", 99))}},
	{"host missing", 400, "host_missing",
		[]string{headOf(line), headOf(line, "X-Host: a"), headOf("GET http://a/ HTTP/1.1")}, []string{headOf("GET / HTTP/1.0")}},
	{"host twice", 400, "host_duplicate",
		[]string{headOf(line, "Host: a", "Host: a"), headOf(line, "Host: a", "hOST: b"), headOf("GET / HTTP/1.0", "Host: a", "Host: b")}, []string{headOf(line, "Host: a")}},
	{"host form", 400, "host_invalid",
		[]string{headOf(line, "Host:"), headOf(line, "Host: a b"), headOf(line, "Host: a/b"), headOf(line, "Host: a@b"), headOf(line, "Host: a,b"), headOf(line, "Host: a:x"), headOf(line, "Host: a:65536"), headOf(line, "Host: a:80:80"), headOf(line, "Host: :80"),
			headOf(line, "Host: [::1"), headOf(line, "Host: [::1]x"), headOf(line, "Host: [::g]"), headOf(line, "Host: [fe80::1%25eth0]"), headOf(line, "Host: [1:2]"), headOf(line, "Host: []"), headOf(line, "Host: ::1"), headOf(line, "Host: a..b"), headOf(line, "Host: .a"), headOf(line, "Host: .."), headOf(line, "Host: a%00"), headOf(line, "Host: é"),
			headOf(line, "Host: "+strings.Repeat("a", 256)), headOf("GET / HTTP/1.0", "Host: a b"), headOf(line, "Host: http://a"), headOf(line, "Host: a?b"), headOf(line, "Host: a:080808")},
		[]string{headOf(line, "Host: a"), headOf(line, "Host: A_b-c.example.:80"), headOf(line, "Host: [::1]:80"), headOf(line, "Host: [2001:db8::ffff:1.2.3.4]"), headOf(line, "Host: 192.0.2.1:"), headOf(line, "Host: "+strings.Repeat("a", 255)), headOf(line, "Host: [1:2:3:4:5:6:7:8]"), headOf(line, "Host: [1::]")}},
	{"authority and host differ", 400, "host_mismatch",
		[]string{headOf("GET http://a/ HTTP/1.1", "Host: b"), headOf("GET http://a:80/ HTTP/1.1", "Host: a"), headOf("GET http://a/ HTTP/1.0", "Host: b")},
		[]string{headOf("GET http://A:80/ HTTP/1.1", "Host: a:80"), headOf("GET http://a/ HTTP/1.0")}},
	{"content-length twice", 400, "content_length_duplicate",
		[]string{headOf("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Content-Length: 5"), headOf("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "content-length: 6")},
		[]string{headOf("POST / HTTP/1.1", "Host: a", "Content-Length: 5")}},
	{"content-length form", 400, "content_length_invalid",
		[]string{lengthOf("+5"), lengthOf("-5"), lengthOf("5, 5"), lengthOf("5,5"), lengthOf("5,6"), lengthOf(""), lengthOf("0x5"), lengthOf("5 5"), lengthOf("5;"), lengthOf("5.0"), lengthOf("1e3"), lengthOf("9223372036854775808"), lengthOf("18446744073709551616"), lengthOf("99999999999999999999"), lengthOf("00000000000000000005"), lengthOf("５"), lengthOf("\"5\""), lengthOf("5\t6"), lengthOf("_5"), lengthOf("1_000")},
		[]string{lengthOf("5"), lengthOf("0"), lengthOf("05"), lengthOf("9223372036854775807"), lengthOf(" 5\t")}},
	{"content-length and transfer-encoding", 400, "content_length_and_transfer_encoding",
		[]string{headOf("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"), headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 0"), headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: identity", "Content-Length: 5"), headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding:", "Content-Length: 5")},
		[]string{encodingOf("chunked"), lengthOf("5")}},
	{"transfer-encoding twice", 400, "transfer_encoding_duplicate",
		[]string{headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "transfer-encoding: x")},
		[]string{encodingOf("chunked")}},
	{"transfer-encoding list", 400, "transfer_encoding_invalid",
		[]string{encodingOf("chunked, chunked"), encodingOf("chunked, gzip"), encodingOf("chunked,"), encodingOf(", chunked"), encodingOf(""), encodingOf("chunked;q=1"), encodingOf("\"chunked\""), encodingOf("chunked chunked"), encodingOf("gzip,, chunked"), encodingOf("chun ked"), encodingOf("chunked, identity"), encodingOf("[chunked]")},
		[]string{encodingOf("chunked"), encodingOf(" Chunked\t"), encodingOf("CHUNKED")}},
	{"transfer-encoding unknown", 501, "transfer_encoding_unsupported",
		[]string{encodingOf("gzip"), encodingOf("gzip, chunked"), encodingOf("identity"), encodingOf("xchunked"), encodingOf("chunkedx"), encodingOf("'chunked'"), encodingOf("identity, chunked"), encodingOf("cow")},
		[]string{encodingOf("chunked")}},
	{"transfer-encoding in HTTP/1.0", 400, "transfer_encoding_in_http_1_0",
		[]string{headOf("POST / HTTP/1.0", "Transfer-Encoding: chunked"), headOf("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: gzip")},
		[]string{headOf("POST / HTTP/1.0", "Content-Length: 3")}},
	{"trace with body", 400, "body_not_allowed",
		[]string{headOf("TRACE / HTTP/1.1", "Host: a", "Content-Length: 5"), headOf("TRACE / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")},
		[]string{headOf("TRACE / HTTP/1.1", "Host: a")}},
	{"connection option", 400, "connection_option_invalid",
		[]string{headOf(line, "Host: a", "Connection: close, Host"), headOf(line, "Host: a", "Connection: X-Forwarded-For"), headOf(line, "Host: a", "Connection: keep-alive", "Connection: authorization"), headOf(line, "Host: a", "Connection: a b"), headOf(line, "Host: a", "Connection: close;x"), headOf(line, "Host: a", "Connection: content-length"),
			headOf(line, "Host: a", "Connection: "+strings.Repeat("x,", 17))},
		[]string{headOf(line, "Host: a", "Connection: , keep-alive ,, X-Own, te, upgrade"), headOf(line, "Host: a", "Connection:"), headOf(line, "Host: a", "Connection: "+strings.Repeat("x,", 16))}},
	{"expectation", 417, "expectation_failed",
		[]string{headOf(line, "Host: a", "Expect: x"), headOf(line, "Host: a", "Expect: 100-continue, x"), headOf(line, "Host: a", "Expect: 100-continue", "Expect: 100-continue"), headOf(line, "Host: a", "Expect:")},
		[]string{headOf("PUT / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: 100-Continue"), headOf("GET / HTTP/1.0", "Expect: x")}},
}

func lengthOf(value string) string {
	return headOf("POST / HTTP/1.1", "Host: a", "Content-Length: "+value)
}

func encodingOf(value string) string {
	return headOf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: "+value)
}

func TestRequestRefusals(t *testing.T) {
	t.Parallel()
	limits := &Limits{}
	for _, rule := range refusals {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range rule.attack {
				for how, parse := range map[string]func(string, *Limits) (*Request, int, *Refusal){"whole": parseWhole, "pieces": parsePieces} {
					_, n, refusal := parse(raw, limits)
					if n != 0 || refusal == nil || refusal.Status != rule.status || refusal.Code != rule.code || !refusal.Close {
						t.Errorf("%s %.120q: n %d, %+v; want %d %s", how, raw, n, refusal, rule.status, rule.code)
					}
				}
			}
			for _, raw := range rule.twin {
				r, n, refusal := parseWhole(raw, limits)
				if n != len(raw) || refusal != nil {
					t.Errorf("twin %.120q: n %d, %v", raw, n, refusal)
				}
				if whole, pieces := describe(r, n, refusal), describe(parsePieces(raw, limits)); whole != pieces {
					t.Errorf("%.120q differs in pieces:\n%s\n%s", raw, whole, pieces)
				}
			}
		})
	}
}

func TestRequestFacts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, want string }{
		{headOf("GET /a/b?c=d HTTP/1.1", "Host: Example:80", "X-A:  b c\t", "Empty:"),
			`GET(GET) target="/a/b?c=d" path="/a/b" query="c=d",true host="Example:80" 1.1 none/-1 keep=true expect=false upgrade=""` +
				"\n\"Host\"=\"Example:80\" id=host hop=false\n\"X-A\"=\"b c\" id= hop=false\n\"Empty\"=\"\" id= hop=false"},
		{headOf("PUT http://h/?x HTTP/1.1", "host: h", "Content-Length: 10", "Expect: 100-continue", "Connection: close"),
			`PUT(PUT) target="http://h/?x" path="/" query="x",true host="h" 1.1 length/10 keep=false expect=true upgrade=""` +
				"\n\"host\"=\"h\" id=host hop=false\n\"Content-Length\"=\"10\" id=content-length hop=false\n\"Expect\"=\"100-continue\" id=expect hop=false\n\"Connection\"=\"close\" id=connection hop=true"},
		{headOf("OPTIONS http://h HTTP/1.1", "Host: h"),
			`OPTIONS(OPTIONS) target="http://h" path="*" query="",false host="h" 1.1 none/-1 keep=true expect=false upgrade=""` +
				"\n\"Host\"=\"h\" id=host hop=false"},
		{headOf("GET http://h?q HTTP/1.0", "Connection: Keep-Alive"),
			`GET(GET) target="http://h?q" path="/" query="q",true host="h" 1.0 none/-1 keep=true expect=false upgrade=""` +
				"\n\"Connection\"=\"Keep-Alive\" id=connection hop=true"},
		{headOf("GET /? HTTP/1.1", "Host: h", "Connection: Upgrade, X-Own", "Upgrade: websocket", "x-own: 1", "TE: trailers", "Keep-Alive: 5"),
			`GET(GET) target="/?" path="/" query="",true host="h" 1.1 none/-1 keep=true expect=false upgrade="websocket"` +
				"\n\"Host\"=\"h\" id=host hop=false\n\"Connection\"=\"Upgrade, X-Own\" id=connection hop=true\n\"Upgrade\"=\"websocket\" id=upgrade hop=true\n\"x-own\"=\"1\" id= hop=true\n\"TE\"=\"trailers\" id=te hop=true\n\"Keep-Alive\"=\"5\" id=keep-alive hop=true"},
		{headOf("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Upgrade: h2c"),
			`POST(POST) target="/" path="/" query="",false host="h" 1.1 chunked/-1 keep=true expect=false upgrade=""` +
				"\n\"Host\"=\"h\" id=host hop=false\n\"Transfer-Encoding\"=\"chunked\" id=transfer-encoding hop=true\n\"Upgrade\"=\"h2c\" id=upgrade hop=true"},
	} {
		if got, want := describe(parseWhole(tt.raw, nil)), fmt.Sprintf("n=%d %s", len(tt.raw), tt.want); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.raw, got, want)
		}
		if got, want := describe(parsePieces(tt.raw, nil)), fmt.Sprintf("n=%d %s", len(tt.raw), tt.want); got != want {
			t.Errorf("%q in pieces:\ngot  %s\nwant %s", tt.raw, got, want)
		}
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		headOf(line, "Host: h", "Connection: upgrade", "Upgrade: WebSocket"):                                  true,
		headOf(line, "Host: h", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Content-Length: 0"): true,
		headOf(line, "Host: h", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 1"):             false,
		headOf(line, "Host: h", "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"):    false,
		headOf(line, "Host: h", "Connection: upgrade", "Upgrade: websocket, h2c"):                             false,
		headOf(line, "Host: h", "Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"):                  false,
		headOf(line, "Host: h", "Upgrade: websocket"):                                                         false,
		headOf("GET / HTTP/1.0", "Host: h", "Connection: upgrade", "Upgrade: websocket"):                      false,
		headOf("POST / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket"):                     false,
	} {
		if r, n, refusal := parseWhole(raw, nil); n != len(raw) || refusal != nil || r.IsWebSocket() != want {
			t.Errorf("%q: IsWebSocket = %v, want %v; %v", raw, r.IsWebSocket(), want, refusal)
		}
	}
}

// TestRequestPipelined checks that a head ends where the next message begins and that one value serves both.
func TestRequestPipelined(t *testing.T) {
	t.Parallel()
	buf := []byte(headOf("GET /one HTTP/1.1", "Host: a", "X-One: 1") + headOf("GET /two HTTP/1.1", "Host: b") + "GET /thr")
	var r Request
	n, refusal := r.Parse(buf, nil)
	if refusal != nil || string(r.Path) != "/one" {
		t.Fatal(n, refusal)
	}
	m, refusal := r.Parse(buf[n:], nil)
	if refusal != nil || string(r.Path) != "/two" || len(r.Fields) != 1 || string(r.Host) != "b" {
		t.Fatal(m, refusal, describe(&r, m, refusal))
	}
	if k, refusal := r.Parse(buf[n+m:], nil); k != 0 || refusal != nil {
		t.Fatal(k, refusal)
	}
}

// TestRequestMovedBuffer checks that a head that continues in another buffer keeps no view into the first one.
func TestRequestMovedBuffer(t *testing.T) {
	t.Parallel()
	raw := headOf("GET /path?q HTTP/1.1", "Host: example", "X-A: b")
	for cut := 1; cut < len(raw); cut++ {
		first := []byte(raw[:cut])
		var r Request
		if n, refusal := r.Parse(first, nil); n != 0 || refusal != nil {
			t.Fatal(cut, n, refusal)
		}
		second := []byte(raw)
		n, refusal := r.Parse(second, nil)
		clear(first)
		want, m, none := parseWhole(raw, nil)
		if got, want := describe(&r, n, refusal), describe(want, m, none); got != want {
			t.Fatalf("cut %d: got %s\nwant %s", cut, got, want)
		}
	}
}

// TestHeadIsLinear feeds a large head byte by byte: quadratic work would be 10^10 steps and fail by the test's timeout.
func TestHeadIsLinear(t *testing.T) {
	t.Parallel()
	limits := &Limits{MaxHeadBytes: 1 << 20, MaxTargetBytes: 1 << 18}
	raw := headOf("GET /"+strings.Repeat("p", 1<<17)+" HTTP/1.1", "Host: a", strings.Repeat("N", 1<<17)+": "+strings.Repeat("v", 1<<17))
	if r, n, refusal := parsePieces(raw, limits); n != len(raw) || refusal != nil || len(r.Fields) != 2 {
		t.Fatal(n, refusal)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	limits := &Limits{}
	var request Request
	var response Response
	var body Body
	heads := [][]byte{[]byte(browser), []byte(smallRequest), []byte(headOf("POST / HTTP/1.1", "Host: a", "Connection: upgrade, x", "X: 1", "Upgrade: websocket")),
		[]byte(headOf(line, "Host: a", "Content-Length: x")), []byte("GET /abc")}
	answer := []byte(smallResponse)
	chunks := []byte("5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n")
	dst := make([]byte, 0, 4096)
	run := func() {
		for _, head := range heads {
			request.Reset()
			request.Parse(head, limits)
			dst = AppendRequestLineOf(dst[:0], &request)
			dst = AppendEndToEnd(dst, request.Fields)
			request.Get(UserAgent)
		}
		response.Reset()
		response.Parse(answer, MethodGet, limits)
		dst = AppendStatusLine(dst[:0], 404)
		dst = AppendStatusLineReason(dst, response.Status, response.Reason)
		dst = AppendFieldInt(dst, "Content-Length", 123456789)
		body.Init(FramingChunked, -1, FromClient, limits)
		for rest := chunks; !body.Done(); {
			n, data, _, refusal := body.Next(rest)
			if refusal != nil {
				t.Fatal(refusal)
			}
			dst = AppendChunk(dst, data)
			rest = rest[n:]
		}
		dst = AppendLastChunk(dst, body.Trailers)
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("steady state allocates %v times a round", n)
	}
}

func TestRequestGetAndFind(t *testing.T) {
	t.Parallel()
	r, _, refusal := parseWhole(headOf(line, "Host: a", "X-Own: 1", "x-own: 2", "Accept: b"), nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if got := string(r.Get(Accept)); got != "b" || !r.Has(Accept) {
		t.Errorf("Get(Accept) = %q", got)
	}
	if got := r.Get(Cookie); got != nil || r.Has(Cookie) {
		t.Errorf("Get(Cookie) = %q", got)
	}
	if got, found := r.Find("X-OWN"); string(got) != "1" || !found {
		t.Errorf("Find = %q, %v", got, found)
	}
	if _, found := r.Find("x-ow"); found {
		t.Error("Find found a prefix of a name")
	}
}
