package http1

import (
	"fmt"
	"strings"
	"testing"
)

func responseWhole(raw string, to Method, l *Limits) (*Response, int, *Refusal) {
	var r Response
	n, refusal := r.Parse([]byte(raw), to, l)
	return &r, n, refusal
}

func responsePieces(raw string, to Method, l *Limits) (*Response, int, *Refusal) {
	var r Response
	buf := []byte(raw)
	for i := 1; i <= len(buf); i++ {
		if n, refusal := r.Parse(buf[:i], to, l); n > 0 || refusal != nil {
			return &r, n, refusal
		}
	}
	return &r, 0, nil
}

func describeResponse(r *Response, n int, refusal *Refusal) string {
	if refusal != nil || n == 0 {
		return fmt.Sprintf("n=%d refusal=%v", n, refusal)
	}
	s := fmt.Sprintf("n=%d 1.%d %d %q %v/%d keep=%v upgrade=%q", n, r.Minor, r.Status, r.Reason, r.Framing, r.ContentLength, r.KeepAlive, r.Upgrade)
	for _, f := range r.Fields {
		s += fmt.Sprintf("\n%q=%q id=%v hop=%v", f.Name, f.Value, f.ID, f.Hop)
	}
	return s
}

const okLine = "HTTP/1.1 200 OK"

func TestResponseRefusals(t *testing.T) {
	t.Parallel()
	for _, rule := range []struct {
		name   string
		code   string
		attack []string
		twin   []string
	}{
		{"garbage", "upstream_bad_status_line",
			[]string{"SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01", "hello", "<html>", "\r\nHTTP/1.1 200 OK\r\n\r\n", " HTTP/1.1 200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200OK\r\n\r\n", "HTTP/1.1 200-OK\r\n\r\n"},
			[]string{headOf(okLine, "Content-Length: 0"), headOf("HTTP/1.0 200 "), headOf("HTTP/1.1 200"), headOf("HTTP/1.1 299 caf\xe9\tx")}},
		{"status code", "upstream_bad_status_code",
			[]string{"HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.1 999 x\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 000 OK\r\n\r\n"},
			[]string{headOf("HTTP/1.1 100 Continue"), headOf("HTTP/1.1 599 x")}},
		{"bare LF", "upstream_bare_lf",
			[]string{"HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200\n\n", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\n"},
			[]string{headOf(okLine, "A: b", "C: d")}},
		{"bare CR", "upstream_bare_cr",
			[]string{"HTTP/1.1 200 OK\rA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", "HTTP/1.1 200\rx\r\n"},
			[]string{headOf(okLine, "A: b")}},
		{"control byte", "upstream_control_byte",
			[]string{"HTTP/1.1 200 O\x00K\r\n", headOf(okLine, "A: b\x00c"), headOf(okLine, "A: \x7f"), headOf("HTTP/1.1 200 \x1b[31m")},
			[]string{headOf(okLine, "A: b\tc \xe9")}},
		{"folding", "upstream_obsolete_line_folding", []string{headOf(okLine, "A: b", " c"), headOf(okLine, "\tA: b")}, []string{headOf(okLine, "A: b c")}},
		{"space before colon", "upstream_space_before_colon", []string{headOf(okLine, "Content-Length : 5")}, []string{headOf(okLine, "Content-Length: 5")}},
		{"field name", "upstream_bad_field_name", []string{headOf(okLine, "A(b): c"), headOf(okLine, "nonsense")}, []string{headOf(okLine, "Content_Length: 5")}},
		{"empty field name", "upstream_empty_field_name", []string{headOf(okLine, ": c")}, []string{headOf(okLine, "a:")}},
		{"head size", "upstream_head_too_large", []string{headOf(okLine, "A: "+strings.Repeat("b", 17<<10)), "HTTP/1.1 200 " + strings.Repeat("x", 17<<10)}, []string{headOf(okLine, "A: "+strings.Repeat("b", 15<<10))}},
		{"header flood", "upstream_too_many_fields", []string{headOf(okLine + strings.Repeat("\r\nA: b", 101))}, []string{headOf(okLine + strings.Repeat("\r\nA: b", 100))}},
		{"two lengths", "upstream_content_length_duplicate", []string{headOf(okLine, "Content-Length: 5", "Content-Length: 6"), headOf(okLine, "Content-Length: 5", "Content-Length: 5")}, []string{headOf(okLine, "Content-Length: 5")}},
		{"length form", "upstream_content_length_invalid", []string{headOf(okLine, "Content-Length: 5, 5"), headOf(okLine, "Content-Length: -1"), headOf(okLine, "Content-Length: 9223372036854775808"), headOf(okLine, "Content-Length:")}, []string{headOf(okLine, "Content-Length: 0")}},
		{"length and encoding", "upstream_content_length_and_transfer_encoding", []string{headOf(okLine, "Content-Length: 5", "Transfer-Encoding: chunked")}, []string{headOf(okLine, "Transfer-Encoding: chunked")}},
		{"encoding twice", "upstream_transfer_encoding_duplicate", []string{headOf(okLine, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")}, []string{headOf(okLine, "Transfer-Encoding: CHUNKED")}},
		{"encoding form", "upstream_transfer_encoding_invalid", []string{headOf(okLine, "Transfer-Encoding: chunked, gzip"), headOf(okLine, "Transfer-Encoding:")}, []string{headOf(okLine, "Transfer-Encoding: chunked")}},
		{"encoding unknown", "upstream_transfer_encoding_unsupported", []string{headOf(okLine, "Transfer-Encoding: gzip, chunked"), headOf(okLine, "Transfer-Encoding: identity")}, []string{headOf(okLine, "Transfer-Encoding: chunked")}},
		{"encoding in HTTP/1.0", "upstream_transfer_encoding_in_http_1_0", []string{headOf("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")}, []string{headOf("HTTP/1.0 200 OK", "Content-Length: 1")}},
		{"encoding without a body", "upstream_transfer_encoding_not_allowed", []string{headOf("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"), headOf("HTTP/1.1 103 Early Hints", "Transfer-Encoding: chunked")}, []string{headOf("HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked")}},
		{"length without a body", "upstream_body_not_allowed", []string{headOf("HTTP/1.1 204 No Content", "Content-Length: 5"), headOf("HTTP/1.1 100 Continue", "Content-Length: 5")}, []string{headOf("HTTP/1.1 204 No Content", "Content-Length: 0"), headOf("HTTP/1.1 304 x", "Content-Length: 5")}},
		{"connection option", "upstream_connection_option_invalid", []string{headOf(okLine, "Connection: a b"), headOf(okLine, "Connection: close;")}, []string{headOf(okLine, "Connection: close, Set-Cookie")}},
	} {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range rule.attack {
				for how, parse := range map[string]func(string, Method, *Limits) (*Response, int, *Refusal){"whole": responseWhole, "pieces": responsePieces} {
					_, n, refusal := parse(raw, MethodGet, nil)
					if n != 0 || refusal == nil || refusal.Status != 502 || refusal.Code != rule.code || !refusal.Close {
						t.Errorf("%s %.120q: n %d, %+v; want 502 %s", how, raw, n, refusal, rule.code)
					}
				}
			}
			for _, raw := range rule.twin {
				whole := describeResponse(responseWhole(raw, MethodGet, nil))
				if !strings.HasPrefix(whole, fmt.Sprintf("n=%d 1.", len(raw))) {
					t.Errorf("twin %.120q: %s", raw, whole)
				}
				if pieces := describeResponse(responsePieces(raw, MethodGet, nil)); whole != pieces {
					t.Errorf("%.120q differs in pieces:\n%s\n%s", raw, whole, pieces)
				}
			}
		})
	}
}

func TestResponseFacts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		to        Method
		raw, want string
	}{
		{MethodGet, headOf(okLine, "Content-Length: 5"), `1.1 200 "OK" length/5 keep=true upgrade=""`},
		{MethodGet, headOf(okLine, "Content-Length: 5", "Connection: close"), `1.1 200 "OK" length/5 keep=false upgrade=""`},
		{MethodGet, headOf(okLine, "Transfer-Encoding: chunked"), `1.1 200 "OK" chunked/-1 keep=true upgrade=""`},
		{MethodGet, headOf(okLine), `1.1 200 "OK" until-close/-1 keep=false upgrade=""`},
		{MethodGet, headOf("HTTP/1.0 200 OK", "Content-Length: 5"), `1.0 200 "OK" length/5 keep=false upgrade=""`},
		{MethodGet, headOf("HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"), `1.0 200 "OK" length/5 keep=true upgrade=""`},
		{MethodHead, headOf(okLine, "Content-Length: 5"), `1.1 200 "OK" none/5 keep=true upgrade=""`},
		{MethodHead, headOf(okLine, "Transfer-Encoding: chunked"), `1.1 200 "OK" none/-1 keep=true upgrade=""`},
		{MethodHead, headOf(okLine), `1.1 200 "OK" none/-1 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 204 No Content"), `1.1 204 "No Content" none/-1 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 304 Not Modified", "Content-Length: 9"), `1.1 304 "Not Modified" none/9 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 100 Continue"), `1.1 100 "Continue" none/-1 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), `1.1 101 "Switching Protocols" none/-1 keep=true upgrade="websocket"`},
		{MethodGet, headOf("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"), `1.1 101 "Switching Protocols" none/-1 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 426 Upgrade Required", "Connection: upgrade", "Upgrade: h2c", "Content-Length: 0"), `1.1 426 "Upgrade Required" length/0 keep=true upgrade=""`},
		{MethodGet, headOf("HTTP/1.1 200", "Content-Length: 0"), `1.1 200 "" length/0 keep=true upgrade=""`},
	} {
		want := fmt.Sprintf("n=%d %s", len(tt.raw), tt.want)
		for how, got := range map[string]string{"whole": describeResponse(responseWhole(tt.raw, tt.to, nil)), "pieces": describeResponse(responsePieces(tt.raw, tt.to, nil))} {
			if got, _, _ = strings.Cut(got, "\n"); got != want {
				t.Errorf("%s %v %q:\ngot  %s\nwant %s", how, tt.to, tt.raw, got, want)
			}
		}
	}
}

// TestResponseNamesEndToEndField checks that an upstream cannot make us drop a field the client needs.
func TestResponseNamesEndToEndField(t *testing.T) {
	t.Parallel()
	r, _, refusal := responseWhole(headOf(okLine, "Connection: Set-Cookie, X-Hop", "Set-Cookie: a=b", "X-Hop: 1", "X-Stay: 2"), MethodGet, nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if got := string(AppendEndToEnd(nil, r.Fields)); got != "Set-Cookie: a=b\r\nX-Stay: 2\r\n" {
		t.Errorf("forwarded %q", got)
	}
}
