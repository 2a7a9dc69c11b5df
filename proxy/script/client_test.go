package script

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// exchange is what `http` sends and what it expects. Options:
//
//	-status N   the status, or several as N|M; without it anything below 400
//	-method M   -header 'K: V' (any number)   -body TEXT   -size N (a body of N bytes)   -chunked (the body is sent in chunks)
//	-encode L   (behind the body) encode it with each of these codings in turn, "gzip" or "gzip, br", and say so; "gzip-bad" damages it
//	-wide N     a header whose value has N bytes           -many N     N more headers
//	-has TEXT   the body contains it          -hasnot TEXT
//	-head TEXT  a line of the head contains it, whatever the case   -headnot TEXT
//	-none       there is no answer: the connection ends instead
//	-from ADDR  the client's address          -port N      instead of $PORT; unix:PATH is a Unix socket
//	-count N    N times in all                -keep        all of them on one connection
//	-together   all of them at the same time
//	-tls …      over TLS: see secure in tls_test.go
//	-cookie VAR $VAR is the first cookie of the answer from now on, as NAME=VALUE
//	-any N      with -count: at least N of them succeed, and at least one fails
type exchange struct {
	method, path, from, port string
	header                   []string
	body                     string
	chunked, keep, none      bool
	together                 bool
	status                   []int
	count, any               int
	cookie                   string
	world                    *world
	has, hasnot              []string
	head, headnot            []string
	secure                   secure
}

func parseExchange(w *world, args []string) (*exchange, error) {
	e := &exchange{method: "GET", path: "/", port: w.get("PORT"), count: 1, world: w, secure: secure{trust: "ca", sni: "test.example"}}
	number := func(s string, into *int) error {
		n, err := strconv.Atoi(s)
		*into = n
		return err
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option := args[0]
		switch option {
		case "-chunked", "-keep", "-none", "-together":
			*map[string]*bool{"-chunked": &e.chunked, "-keep": &e.keep, "-none": &e.none, "-together": &e.together}[option] = true
			args = args[1:]
			continue
		case "-tls":
			e.secure.on, args = true, args[1:]
			continue
		}
		if len(args) < 2 {
			return nil, usage("http " + option + " needs a value")
		}
		value := args[1]
		args = args[2:]
		var err error
		switch option {
		case "-method":
			e.method = value
		case "-from":
			e.from = value
		case "-cookie":
			e.cookie = value
		case "-port":
			e.port = value
		case "-body":
			e.body = value
		case "-encode":
			e.body, err = encode(value, e.body)
			e.header = append(e.header, fieldOf(value))
		case "-header":
			e.header = append(e.header, value)
		case "-has":
			e.has = append(e.has, value)
		case "-hasnot":
			e.hasnot = append(e.hasnot, value)
		case "-head":
			e.head = append(e.head, strings.ToLower(value))
		case "-headnot":
			e.headnot = append(e.headnot, strings.ToLower(value))
		case "-status":
			for _, one := range strings.Split(value, "|") {
				n := 0
				err = errors.Join(err, number(one, &n))
				e.status = append(e.status, n)
			}
		case "-count":
			err = number(value, &e.count)
		case "-any":
			err = number(value, &e.any)
		case "-size", "-wide", "-many":
			var n int
			err = number(value, &n)
			switch option {
			case "-size":
				e.body = strings.Repeat("x", n)
			case "-wide":
				e.header = append(e.header, "X-Wide: "+strings.Repeat("x", n))
			case "-many":
				for i := range n {
					e.header = append(e.header, fmt.Sprintf("X-Many-%d: x", i))
				}
			}
		default:
			if e.secure.option(option, value) {
				break
			}
			return nil, usage("http " + option)
		}
		if err != nil {
			return nil, usage(err.Error())
		}
	}
	if len(args) > 1 {
		return nil, usage("http: too much: " + strings.Join(args, " "))
	}
	if len(args) == 1 {
		e.path = args[0]
	}
	return e, nil
}

func (c call) http(args []string) error {
	e, err := parseExchange(c.world, args)
	if err != nil {
		return err
	}
	if e.together {
		return e.manyTogether(c.world)
	}
	var conn *connection
	good := 0
	for range e.count {
		if conn == nil || !e.keep {
			if conn, err = e.connect(c.world); err == nil {
				defer conn.Close()
			}
		}
		if err == nil {
			_, err = e.on(conn)
		} else if e.none {
			err = nil
		}
		if err != nil && e.any == 0 {
			return err
		}
		if err == nil {
			good++
		}
	}
	return e.enough(good, err)
}

func (e *exchange) enough(good int, last error) error {
	if e.any > 0 && (good < e.any || good == e.count) {
		return fmt.Errorf("%d of %d succeeded, not at least %d but not all; %v", good, e.count, e.any, last)
	}
	return nil
}

func (e *exchange) manyTogether(w *world) error {
	results := make(chan error, e.count)
	for range e.count {
		go func() {
			conn, err := e.connect(w)
			if err == nil {
				defer conn.Close()
				_, err = e.on(conn)
			}
			results <- err
		}()
	}
	good := 0
	var bad error
	for range e.count {
		if err := <-results; err != nil {
			bad = err
		} else {
			good++
		}
	}
	if e.any == 0 {
		return bad
	}
	return e.enough(good, bad)
}

func (e *exchange) connect(w *world) (*connection, error) {
	conn, err := connect(e.from, e.port)
	if err == nil && e.secure.on {
		if err = e.secure.begin(w, conn); err != nil {
			_ = conn.Close()
		}
	}
	return conn, err
}

// connection is one to the proxy, with what came back since the last answer.
type connection struct {
	socket
	r      *bufio.Reader
	seen   bytes.Buffer
	secure *tls.Conn // nil = plain
}

// socket is what TCP and Unix sockets have in common.
type socket interface {
	net.Conn
	CloseWrite() error
	SetReadBuffer(bytes int) error
}

func connect(from, port string) (*connection, error) {
	tcp, err := dial(from, port)
	if err != nil {
		return nil, err
	}
	_ = tcp.SetDeadline(time.Now().Add(patience))
	c := &connection{socket: tcp}
	c.r = bufio.NewReader(io.TeeReader(tcp, &c.seen))
	return c, nil
}

// on makes the exchange on a connection and returns the body of the answer.
func (e *exchange) on(conn *connection) (string, error) {
	conn.seen.Reset()
	sent := make(chan error, 1)
	stop := atomic.Bool{}
	go func() { sent <- e.send(conn, &stop) }()
	res, body, err := readAnswer(conn, e.method)
	stop.Store(true)
	if err != nil {
		werr := <-sent
		if e.none {
			return "", nil
		}
		return "", errors.Join(err, werr)
	}
	if err := e.judge(res, conn.seen.String(), body); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%.2000s", e.method, e.path, err, conn.seen.String())
	}
	return body, nil
}

// send writes the request. It may be answered, and the connection closed, before it has been sent: then that is no error of ours.
func (e *exchange) send(conn *connection, stop *atomic.Bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", e.method, e.path)
	if !strings.HasPrefix(strings.ToLower(strings.Join(e.header, "\n")), "host:") {
		b.WriteString("Host: test.example\r\n")
	}
	for _, h := range e.header {
		b.WriteString(h + "\r\n")
	}
	switch {
	case e.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for rest := e.body; rest != ""; {
			n := min(len(rest), 4096)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		b.WriteString("0\r\n\r\n")
	case e.body != "" || e.method == "POST" || e.method == "PUT":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(e.body), e.body)
	default:
		b.WriteString("\r\n")
	}
	for rest := b.String(); rest != "" && !stop.Load(); {
		n, err := conn.Write([]byte(rest[:min(len(rest), 64<<10)]))
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func readAnswer(conn *connection, method string) (*http.Response, string, error) {
	for {
		res, err := http.ReadResponse(conn.r, &http.Request{Method: method})
		if err != nil {
			return nil, "", fmt.Errorf("no answer: %w", err)
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, "", fmt.Errorf("answer is not complete: %w", err)
		}
		return res, string(body), nil
	}
}

func (e *exchange) judge(res *http.Response, seen, body string) error {
	switch {
	case e.none:
		return errors.New("an answer, and none was expected")
	case e.status != nil && !slices.Contains(e.status, res.StatusCode):
		return fmt.Errorf("status %d, not %d", res.StatusCode, e.status)
	case e.status == nil && res.StatusCode >= 400:
		return fmt.Errorf("status %d", res.StatusCode)
	}
	if cookies := res.Cookies(); e.cookie != "" {
		if len(cookies) == 0 {
			return errors.New("no cookie")
		}
		e.world.set(e.cookie, cookies[0].Name+"="+cookies[0].Value)
	}
	head, _, _ := strings.Cut(seen, "\r\n\r\n")
	head = strings.ToLower(head)
	for _, text := range e.head {
		if !strings.Contains(head, text) {
			return fmt.Errorf("head does not hold %q", text)
		}
	}
	for _, text := range e.headnot {
		if strings.Contains(head, text) {
			return fmt.Errorf("head holds %q", text)
		}
	}
	for _, text := range e.hasnot {
		if strings.Contains(body, text) {
			return fmt.Errorf("body holds %q", text)
		}
	}
	return holds(body, e.has)
}
