package script

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// backend is a server that answers its name, unless it was told otherwise, and keeps the bytes of every request. Its port is $NAME.
//
//	backend NAME [FLAG]...                     start it
//	backend NAME set [-for PATH] [FLAG]...     behave so from now on, for one path or for all the others
//	backend NAME stop | start                  stop also ends its connections; start listens on the same port again
//	backend NAME tls CERT [-ask CA] [-version V]   speak TLS on new connections; "backend NAME resumed OP N" counts resumed sessions
//	backend NAME forget                        forget all requests and connections so far
//	backend NAME requests OP N                 how many requests it got; connections: how many it accepted; open: how many are open now
//	backend NAME got TEXT...                   the last request contains the texts, as bytes of the wire; "lacks TEXT...": none of them, in any case
//	backend NAME -unix [FLAG]...               (first of all) listen on a Unix socket, whose path is $NAME
//	backend NAME -preface [FLAG]...            (first of all) expect a PROXY protocol header at the start of each connection; it counts as part of the first request
//	backend NAME full                          (instead of flags) listen, but accept nothing and keep the queue full: connecting to it hangs
//
// Flags:
//
//	-status N  -header 'K: V'  -many N (headers)  -wide N (a header of N bytes)  -body TEXT  -size N  -chunked     the answer
//	-delay D       wait before the head         -body-delay D  wait in the middle of the body
//	-close         close after the answer, and say so
//	-quit D        close, without having said so, when the connection has been idle for D
//	-hangup        close instead of answering   -reset  close with a reset instead of answering
//	-raw TEXT      these bytes are the answer, with Go's escapes
//	-upgrade       101, and then every byte comes back
//	-socket        101, and then every message of the WebSocket comes back
//	-noread        do not read the body of requests, and answer nothing
//	-early         answer before the body has been read
//	-every N       all of this only every Nth time
//	-times N       all of this only N times, then as if it had not been said
type backend struct {
	name    string
	port    int
	path    string // of a Unix socket, instead of the port
	preface bool

	mu       sync.Mutex // guards the rest
	ln       net.Listener
	conns    map[net.Conn]bool
	accepted int
	resumed  int         // TLS sessions
	tls      *tls.Config // nil = plain
	requests []string
	rules    map[string]*behaviour // by path, "" is for all others
	running  sync.WaitGroup
	queue    []net.Conn // what keeps a full backend full
	fullFD   int
}

type behaviour struct {
	status           int
	header           []string
	body             string
	chunked          bool
	delay, bodyDelay time.Duration
	quit             time.Duration
	close, hangup    bool
	reset, upgrade   bool
	socket           bool
	noread, early    bool
	raw              string
	limited          bool
	times            int
	otherwise        *behaviour
	every, seen      int
}

func (c call) backend(args []string) error {
	if len(args) == 0 {
		return usage("backend NAME ...")
	}
	name, args := args[0], args[1:]
	c.mu.Lock()
	b := c.backends[name]
	c.mu.Unlock()
	if b == nil {
		return c.newBackend(name, args)
	}
	if len(args) == 0 {
		return usage("backend " + name + " exists")
	}
	switch args[0] {
	case "set":
		path := ""
		if len(args) > 2 && args[1] == "-for" {
			path, args = args[2], args[2:]
		}
		rule, err := parseBehaviour(name, args[1:])
		if err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.rules[path] = rule
		return nil
	case "tls":
		return b.speakTLS(c.world, args[1:])
	case "stop":
		b.stop()
		return nil
	case "start":
		return b.start()
	case "forget":
		b.mu.Lock()
		defer b.mu.Unlock()
		b.requests, b.accepted = nil, 0
		return nil
	case "requests", "connections", "open", "resumed":
		if len(args) != 3 {
			return usage("backend NAME " + args[0] + " OP N")
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		n := map[string]int{"requests": len(b.requests), "connections": b.accepted, "open": len(b.conns), "resumed": b.resumed}[args[0]]
		if err := compare(float64(n), args[1], args[2]); err != nil {
			return fmt.Errorf("%s of backend %s: %w", args[0], name, err)
		}
		return nil
	case "got", "lacks":
		return b.judge(args[0], args[1:])
	}
	return usage("backend NAME " + args[0])
}

func (b *backend) judge(verb string, texts []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		return errors.New("no request")
	}
	last := b.requests[len(b.requests)-1]
	for i, s := range texts {
		text, err := unescape(s)
		if err != nil {
			return err
		}
		texts[i] = text
		if verb == "lacks" && strings.Contains(strings.ToLower(last), strings.ToLower(text)) {
			return fmt.Errorf("%q is in:\n%s", text, last)
		}
	}
	if verb == "got" {
		return holds(last, texts)
	}
	return nil
}

func (c call) newBackend(name string, args []string) error {
	b := &backend{name: name, rules: map[string]*behaviour{}, conns: map[net.Conn]bool{}}
	for ; len(args) > 0 && (args[0] == "-unix" || args[0] == "-preface"); args = args[1:] {
		if args[0] == "-preface" {
			b.preface = true
			continue
		}
		b.path = filepath.Join(c.run, name+".sock")
		c.set(name, b.path)
	}
	var err error
	if b.path == "" {
		if b.port, err = c.port(name); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.backends[name] = b
	c.mu.Unlock()
	if len(args) == 1 && args[0] == "full" {
		return b.fill()
	}
	if b.rules[""], err = parseBehaviour(name, args); err != nil {
		return err
	}
	return b.start()
}

func parseBehaviour(name string, args []string) (*behaviour, error) {
	r := &behaviour{status: 200, body: name + "\n"}
	flags := map[string]*bool{"-chunked": &r.chunked, "-close": &r.close, "-hangup": &r.hangup, "-reset": &r.reset, "-upgrade": &r.upgrade, "-socket": &r.socket, "-noread": &r.noread, "-early": &r.early}
	for len(args) > 0 {
		if f := flags[args[0]]; f != nil {
			*f, args = true, args[1:]
			continue
		}
		if len(args) < 2 {
			return nil, usage("backend flag " + args[0])
		}
		value := args[1]
		var err error
		var n int
		switch args[0] {
		case "-status":
			r.status, err = strconv.Atoi(value)
		case "-header":
			r.header = append(r.header, value)
		case "-body":
			r.body = value
		case "-size":
			n, err = strconv.Atoi(value)
			r.body = strings.Repeat("y", n)
		case "-many":
			n, err = strconv.Atoi(value)
			for i := range n {
				r.header = append(r.header, fmt.Sprintf("X-Many-%d: x", i))
			}
		case "-wide":
			n, err = strconv.Atoi(value)
			r.header = append(r.header, "X-Wide: "+strings.Repeat("x", n))
		case "-delay":
			r.delay, err = time.ParseDuration(value)
		case "-body-delay":
			r.bodyDelay, err = time.ParseDuration(value)
		case "-quit":
			r.quit, err = time.ParseDuration(value)
		case "-raw":
			r.raw, err = unescape(value)
		case "-every":
			r.every, err = strconv.Atoi(value)
		case "-times":
			r.limited = true
			r.times, err = strconv.Atoi(value)
			r.otherwise = &behaviour{status: 200, body: name + "\n"}
		default:
			return nil, usage("backend flag " + args[0])
		}
		if err != nil {
			return nil, usage(err.Error())
		}
		args = args[2:]
	}
	return r, nil
}

// fill listens with the shortest queue there is and fills it, so that the kernel answers no further connection.
func (b *backend) fill() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	b.fullFD = fd
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: b.port}); err != nil {
		return err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		return err
	}
	for range 20 {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), 100*time.Millisecond)
		if err != nil {
			return nil
		}
		b.queue = append(b.queue, conn)
	}
	return errors.New("the queue of a full backend does not fill")
}

func (b *backend) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ln != nil {
		return usage("backend " + b.name + " runs")
	}
	network, address := "tcp", fmt.Sprintf("127.0.0.1:%d", b.port)
	if b.path != "" {
		network, address = "unix", b.path
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	b.ln = ln
	b.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			gone := b.ln != ln
			if b.tls != nil {
				conn = tls.Server(conn, b.tls)
			}
			if !gone {
				b.accepted++
				b.conns[conn] = true
			}
			b.mu.Unlock()
			if gone {
				_ = conn.Close()
				return
			}
			b.running.Go(func() {
				b.serve(conn)
				_ = conn.Close()
				b.mu.Lock()
				delete(b.conns, conn)
				b.mu.Unlock()
			})
		}
	})
	return nil
}

func (b *backend) stop() {
	b.mu.Lock()
	if b.ln != nil {
		_ = b.ln.Close()
		b.ln = nil
	}
	for conn := range b.conns {
		_ = conn.Close()
	}
	for _, conn := range b.queue {
		_ = conn.Close()
	}
	if b.fullFD != 0 {
		_ = syscall.Close(b.fullFD)
		b.fullFD = 0
	}
	b.mu.Unlock()
	b.running.Wait()
}

// serve answers the requests of one connection.
func (b *backend) serve(conn net.Conn) {
	var wire bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &wire))
	rule := &behaviour{}
	if b.preface && readPreface(r) != nil {
		return
	}
	for {
		if rule.quit > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(rule.quit))
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		rule = b.rule(req.URL.Path)
		if rule.early || rule.noread {
			b.note(wire.String())
		}
		if rule.noread {
			time.Sleep(patience / 2)
			return
		}
		if rule.early {
			rule.answer(conn, req)
		}
		if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if rule.early {
			continue
		}
		b.note(wire.String())
		wire.Reset()
		if !rule.answer(conn, req) {
			return
		}
		if rule.socket {
			echoMessages(conn, r)
			return
		}
		if rule.upgrade {
			_, _ = io.Copy(conn, r)
			return
		}
	}
}

// readPreface reads a PROXY protocol header, of version 1 or 2.
func readPreface(r *bufio.Reader) error {
	if first, err := r.Peek(1); err != nil || first[0] == 'P' {
		_, err := r.ReadString('\n')
		return err
	}
	head, err := r.Peek(16)
	if err != nil {
		return err
	}
	_, err = r.Discard(16 + int(binary.BigEndian.Uint16(head[14:])))
	return err
}

func (b *backend) note(wire string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, wire[:min(len(wire), 64<<10)])
}

func (b *backend) rule(path string) *behaviour {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rules[path]
	if r == nil {
		r = b.rules[""]
	}
	if r.every > 0 {
		if r.seen++; r.seen%r.every != 0 {
			return &behaviour{status: 200, body: b.name + "\n"}
		}
	}
	if r.limited {
		if r.times == 0 {
			return r.otherwise
		}
		r.times--
	}
	return r
}

// answer reports whether the connection goes on.
func (r *behaviour) answer(conn net.Conn, req *http.Request) bool {
	time.Sleep(r.delay)
	switch {
	case r.reset:
		_ = conn.(*net.TCPConn).SetLinger(0)
		return false
	case r.hangup:
		return false
	case r.raw != "":
		_, _ = io.WriteString(conn, r.raw)
		return !r.close
	}
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	for _, h := range r.header {
		head.WriteString(h + "\r\n")
	}
	switch {
	case r.upgrade || r.socket:
		head.Reset()
		head.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
		fmt.Fprintf(&head, "Sec-WebSocket-Accept: %s\r\n", websocket.AppendAccept(nil, []byte(req.Header.Get("Sec-WebSocket-Key"))))
	case r.chunked:
		head.WriteString("Transfer-Encoding: chunked\r\n")
	case r.status != 204 && r.status != 304:
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(r.body))
	}
	if r.close {
		head.WriteString("Connection: close\r\n")
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(conn, head.String()); err != nil {
		return false
	}
	if r.upgrade || r.socket || req.Method == "HEAD" || r.status == 204 || r.status == 304 {
		return !r.close
	}
	half := len(r.body) / 2
	for i, part := range []string{r.body[:half], r.body[half:]} {
		if i == 1 {
			time.Sleep(r.bodyDelay)
		}
		if r.chunked && part != "" {
			part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		if r.chunked && i == 1 {
			part += "0\r\n\r\n"
		}
		if _, err := io.WriteString(conn, part); err != nil {
			return false
		}
	}
	return !r.close
}

// echoMessages sends every message of a WebSocket back, and answers its close.
func echoMessages(conn net.Conn, r io.Reader) {
	reader := websocket.NewReader(websocket.FromClient, websocket.Limits{})
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		for p := buf[:n]; len(p) > 0; {
			k, m, ok, wrong := reader.Next(p)
			if wrong != nil {
				return
			}
			if p = p[k:]; ok {
				_, _ = conn.Write(websocket.AppendFrame(nil, true, m.Opcode, nil, m.Payload))
				if m.Opcode == websocket.Close {
					return
				}
			}
		}
	}
}
