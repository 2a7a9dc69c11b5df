package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/attack"
)

// What a proxy did, in classes that can be counted.
const (
	refused   = "refused"         // an error answer or a closed connection, and nothing reached the other side
	forwarded = "passed on as 1"  // one message reached the other side
	split     = "passed on as 2+" // several did, where one connection sent one write
	malformed = "passed on malformed"
	waiting   = "kept waiting"
)

// outcome is what one proxy did with one turn.
type outcome struct {
	text     string
	class    string
	expected bool // by the suite, which is Sentinel's policy
}

// settle is how long a proxy gets to end its side of an exchange that was broken off.
const settle = 50 * time.Millisecond

// client is a raw connection on which a read waits no longer than quiet.
type client struct {
	*net.TCPConn
	quiet time.Duration
	r     *bufio.Reader
}

func dial(addr string, quiet time.Duration) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	out := &client{TCPConn: c.(*net.TCPConn), quiet: quiet}
	out.r = bufio.NewReader(readFunc(func(p []byte) (int, error) {
		out.SetReadDeadline(time.Now().Add(quiet))
		return out.TCPConn.Read(p)
	}))
	out.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return out, nil
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// reply is one answer; err is how reading it ended when it is not whole.
type reply struct {
	status int
	body   string
	err    error
}

// reply reads one final answer.
func (c *client) reply(method string) reply {
	for {
		r, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return reply{err: err}
		}
		body, err := io.ReadAll(r.Body)
		if r.StatusCode >= 200 {
			return reply{r.StatusCode, string(body), err}
		}
	}
}

func (c *client) get(path string) reply {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path); err != nil {
		return reply{err: err}
	}
	return c.reply("GET")
}

func quietly(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// request sends a turn as a client and says what the proxy and the backend did.
func (s *shard) request(t *attack.Turn) outcome {
	s.recorder.Forget()
	c, err := dial(s.requests, s.quiet)
	if err != nil {
		return outcome{text: err.Error(), class: malformed}
	}
	defer c.Close()
	_, _ = io.WriteString(c, t.Raw) // fails when the proxy has seen enough
	if t.Close {
		_ = c.CloseWrite()
	}
	var statuses []int
	last := reply{}
	var end error
	for end == nil {
		a := c.reply(t.MethodOf(len(statuses)))
		if a.status > 0 {
			statuses, last = append(statuses, a.status), a
		}
		end = a.err
	}
	state := "closed"
	want := slices.Clone(t.Sees)
	switch {
	case quietly(end) && len(statuses) == 0:
		state = "waits"
	case quietly(end):
		state = "open"
		if t.State == "open" {
			want = append(want, "GET /after")
			if a := c.get("/after"); a.status != 200 || a.err != nil {
				state = "of no use"
			}
		}
	}
	c.Close()
	witness := s.witness()
	if state == "waits" {
		time.Sleep(settle) // what was begun ends in this turn, not in the next
	}
	seen := s.recorder.Seen()
	expected := witness && len(t.Differences(seen, append(want, "GET /witness"))) == 0 && s.answered(t, statuses, state, last)
	return describe(statuses, state, witness, seen, expected)
}

// answered says whether the client got what the suite expects.
func (s *shard) answered(t *attack.Turn, statuses []int, state string, last reply) bool {
	if t.State == "refused" {
		return state == "closed" && (len(statuses) == 0 || statuses[0]/100 == 4)
	}
	return slices.Equal(statuses, t.Status) && state == t.State && (t.Body == nil || last.body == *t.Body)
}

func (s *shard) witness() bool {
	w, err := dial(s.requests, 5*time.Second)
	if err != nil {
		return false
	}
	defer w.Close()
	a := w.get("/witness")
	return a.status == 200 && a.err == nil
}

func describe(statuses []int, state string, witness bool, seen attack.Seen, expected bool) outcome {
	n := 0
	for _, r := range seen.Requests {
		if !strings.HasPrefix(r, "GET /witness") && !strings.HasPrefix(r, "GET /after") {
			n++
		}
	}
	var b bytes.Buffer
	for _, status := range statuses {
		fmt.Fprintf(&b, "%d ", status)
	}
	b.WriteString(state)
	if n > 0 {
		fmt.Fprintf(&b, ", forwarded %d", n)
	}
	class := refused
	switch {
	case len(seen.Garbage) > 0:
		class = malformed
		b.WriteString(", malformed forwarded")
	case n > 1:
		class = split
	case n == 1:
		class = forwarded
	case state == "waits":
		class = waiting
	}
	if !witness {
		b.WriteString(", next client harmed")
	}
	return outcome{b.String(), class, expected}
}

// answer lets the backend answer a plain request with a turn, and asks again to see whether the upstream connection is used once more.
func (s *shard) answer(t *attack.Turn) outcome {
	time.Sleep(settle) // connections of the turn before are back where they belong
	s.attacker.Begin(t)
	c, err := dial(s.answers, 5*s.quiet)
	if err != nil {
		return outcome{text: err.Error(), class: malformed}
	}
	defer func() { c.Close() }()
	fmt.Fprintf(c, "%s /first HTTP/1.1\r\nHost: test\r\n\r\n", t.Method)
	first := c.reply(t.Method)
	second := reply{err: io.EOF}
	if first.err == nil && t.State != "broken" {
		second = c.get("/second")
	}
	if second.err != nil {
		c.Close()
		if c, err = dial(s.answers, 5*s.quiet); err != nil {
			return outcome{text: err.Error(), class: malformed}
		}
		second = c.get("/second")
	}
	used := s.attacker.Used()
	o := outcome{class: refused}
	connection := "fresh"
	if len(used) > 1 && used[0] == used[len(used)-1] {
		connection = "reused"
	}
	text := fmt.Sprint(first.status)
	switch {
	case first.err == nil && first.status == 502:
	case quietly(first.err):
		o.class, text = waiting, "waits"
	case first.status == 0 && errors.Is(first.err, io.ErrUnexpectedEOF), first.status == 0 && errors.Is(first.err, io.EOF):
		text = "closed"
	case first.status == 0:
		o.class, text = malformed, "malformed"
	case first.err != nil:
		o.class, text = forwarded, text+" cut off"
	default:
		o.class = forwarded
	}
	if second.status != 200 || second.body != "k" {
		connection += ", next answer wrong"
	}
	o.text = text + ", " + connection
	o.expected = wanted(t, first, second, used)
	return o
}

func wanted(t *attack.Turn, first, second reply, used []int) bool {
	if second.status != 200 || second.body != "k" || len(used) != 2 || (used[0] == used[1]) != (t.State == "reused") {
		return false
	}
	if t.State == "broken" {
		return first.status == 502 && first.err == nil || first.status == t.Status[0] && first.err != nil && !quietly(first.err)
	}
	return first.err == nil && first.status == t.Status[0] && (t.Body == nil || first.body == *t.Body)
}
