package attack

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Recorder is a backend that notes what it is sent, byte for byte, and answers each complete request with 200.
type Recorder struct {
	mu      sync.Mutex // guards the rest
	sees    []string
	heads   []string // raw, one for each of sees
	garbage []string // what is not a request by the strictest reading
}

// Serve reads requests with the strict parser: whatever the proxy forwards must pass it.
func (b *Recorder) Serve(c net.Conn) {
	var buf []byte
	var r http1.Request
	for {
		r.Reset()
		n := 0
		for n == 0 {
			var refusal *http1.Refusal
			if n, refusal = r.Parse(buf, nil); refusal != nil {
				b.note(fmt.Sprintf("%v in %q", refusal, buf))
				return
			}
			if n == 0 && !more(c, &buf) {
				if len(buf) > 0 {
					b.note(fmt.Sprintf("truncated head %q", buf))
				}
				return
			}
		}
		head := string(buf[:n])
		what := fmt.Sprintf("%s %s", r.Method, r.Target)
		method := r.MethodID
		var body http1.Body
		body.Init(r.Framing, r.ContentLength, http1.FromClient, nil)
		buf = buf[n:]
		var data []byte
		for !body.Done() {
			used, piece, done, refusal := body.Next(buf)
			data = append(data, piece...)
			buf = buf[used:]
			if refusal != nil {
				b.note(refusal.Error())
				return
			}
			if !done && len(buf) == 0 && !more(c, &buf) {
				return // the proxy broke the request off: a backend does nothing with it
			}
		}
		if len(data) > 0 {
			what += fmt.Sprintf(" %q", data)
		}
		b.mu.Lock()
		b.sees, b.heads = append(b.sees, what), append(b.heads, head)
		b.mu.Unlock()
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
		if method != http1.MethodHead {
			answer += "ok"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func more(c net.Conn, buf *[]byte) bool {
	piece := make([]byte, 64<<10)
	n, err := c.Read(piece)
	*buf = append(bytes.Clone(*buf), piece[:n]...)
	return err == nil
}

// Forget makes it ready for the next turn.
func (b *Recorder) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sees, b.heads, b.garbage = nil, nil, nil
}

func (b *Recorder) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.garbage = append(b.garbage, s)
}

// Seen is what a backend got.
type Seen struct {
	Requests []string // METHOD TARGET "BODY"
	Heads    []string // raw, one for each of Requests
	Garbage  []string // what is not a request by the strictest reading
}

// Seen returns what came since Forget.
func (b *Recorder) Seen() Seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Seen{slices.Clone(b.sees), slices.Clone(b.heads), slices.Clone(b.garbage)}
}

// Differences says in what the backend got something else than the turn wants; want are the requests, those of the turn and those sent after it.
func (t *Turn) Differences(got Seen, want []string) (out []string) {
	if !slices.Equal(got.Requests, want) {
		out = append(out, fmt.Sprintf("the backend sees %q, want %q", got.Requests, want))
	}
	if len(got.Garbage) > 0 {
		out = append(out, fmt.Sprintf("the backend gets garbage: %q", got.Garbage))
	}
	last := len(t.Sees) - 1
	for _, field := range t.Has {
		if last >= len(got.Heads) || !hasField(got.Heads[last], field) {
			out = append(out, fmt.Sprintf("the backend does not see %q in %q", field, got.Heads))
		}
	}
	for _, head := range got.Heads {
		for _, name := range t.Lacks {
			if hasName(head, name) {
				out = append(out, fmt.Sprintf("the backend sees %q in %q", name, head))
			}
		}
	}
	return out
}

// MethodOf takes the method of the i-th answered request from what is sent, as well as it can be seen there.
func (t *Turn) MethodOf(i int) string {
	if i == 0 && strings.HasPrefix(t.Raw, "HEAD ") {
		return "HEAD"
	}
	return t.Method
}

func hasField(head, field string) bool {
	name, value, _ := strings.Cut(field, ": ")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(n, name) && strings.TrimSpace(v) == value {
			return true
		}
	}
	return false
}

func hasName(head, name string) bool {
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if n, _, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
