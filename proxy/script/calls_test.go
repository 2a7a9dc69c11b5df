package script

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// callee is a server that speaks HTTP/2, and answers as gRPC does what asks so. Otherwise it answers its name and the version it was asked in.
//
//	calls NAME [-tls CERT] [FLAG]...        start it at port $NAME: with HTTP/2 only, or with TLS and both versions
//	calls NAME set [FLAG]...                behave so from now on
//	calls NAME sent TEXT...                 its connections have brought these bytes so far; "calls NAME forget" begins anew
//	calls NAME requests|connections OP N
//
// Flags:
//
//	-delay D                    wait before the answer
//	-outcome N [-times N]       answer with this status of gRPC and no message
//	-down SERVICE               say that this service is not well; any other is
//	-deaf                       stop reading once a request has come
type callee struct {
	name string
	srv  *http.Server
	done chan struct{}

	mu       sync.Mutex // guards the rest
	delay    time.Duration
	outcome  int
	times    int
	down     string
	deaf     bool
	requests int
	conns    int
	sent     bytes.Buffer
}

func (c call) calls(args []string) error {
	if len(args) == 0 {
		return usage("calls NAME …")
	}
	name, args := args[0], args[1:]
	c.mu.Lock()
	k := c.callees[name]
	c.mu.Unlock()
	if k == nil {
		return c.newCallee(name, args)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case len(args) == 0:
	case args[0] == "set":
		return k.set(args[1:])
	case args[0] == "forget":
		k.requests, k.conns = 0, 0
		k.sent.Reset()
		return nil
	case args[0] == "sent":
		for _, s := range args[1:] {
			text, err := unescape(s)
			if err != nil {
				return err
			}
			if !strings.Contains(k.sent.String(), text) {
				return fmt.Errorf("%q was not sent", text)
			}
		}
		return nil
	case len(args) == 3 && args[0] == "requests":
		return compare(float64(k.requests), args[1], args[2])
	case len(args) == 3 && args[0] == "connections":
		return compare(float64(k.conns), args[1], args[2])
	}
	return usage("calls NAME set|forget|sent|requests|connections")
}

func (c call) newCallee(name string, args []string) error {
	port, err := c.port(name)
	if err != nil {
		return err
	}
	k := &callee{name: name, done: make(chan struct{})}
	k.srv = &http.Server{Handler: k, Protocols: new(http.Protocols)}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	ln = &hearing{ln, k}
	if len(args) > 1 && args[0] == "-tls" {
		pair := c.issued.pairs[args[1]]
		if pair == nil {
			return usage("no certificate " + args[1])
		}
		k.srv.Protocols.SetHTTP1(true)
		k.srv.Protocols.SetHTTP2(true)
		k.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair.TLS()}}
		args = args[2:]
	} else {
		k.srv.Protocols.SetUnencryptedHTTP2(true)
	}
	if err := k.set(args); err != nil {
		return err
	}
	c.mu.Lock()
	c.callees[name] = k
	c.mu.Unlock()
	go func() {
		defer close(k.done)
		if k.srv.TLSConfig != nil {
			_ = k.srv.ServeTLS(ln, "", "")
		} else {
			_ = k.srv.Serve(ln)
		}
	}()
	return nil
}

func (k *callee) stop() {
	_ = k.srv.Close()
	<-k.done
}

func (k *callee) set(args []string) (err error) {
	k.delay, k.outcome, k.times, k.down, k.deaf = 0, 0, 1<<30, "", false
	for len(args) > 0 && err == nil {
		if args[0] == "-deaf" {
			k.deaf, args = true, args[1:]
			continue
		}
		if len(args) < 2 {
			return usage("calls flag " + args[0])
		}
		switch args[0] {
		case "-delay":
			k.delay, err = time.ParseDuration(args[1])
		case "-outcome":
			k.outcome, err = strconv.Atoi(args[1])
		case "-times":
			k.times, err = strconv.Atoi(args[1])
		case "-down":
			k.down = args[1]
		default:
			return usage("calls flag " + args[0])
		}
		args = args[2:]
	}
	return err
}

func (k *callee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	k.mu.Lock()
	k.requests++
	delay, outcome, down := k.delay, k.outcome, k.down
	if outcome != 0 {
		if k.times--; k.times < 0 {
			outcome = 0
		}
	}
	k.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	h := w.Header()
	switch {
	case r.URL.Path == "/grpc.health.v1.Health/Check":
		status := byte(1)
		if down != "" && bytes.HasSuffix(body, []byte(down)) {
			status = 2
		}
		h.Set("Content-Type", "application/grpc")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, status})
		h.Set(http.TrailerPrefix+"Grpc-Status", "0")
	case outcome != 0:
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", strconv.Itoa(outcome))
	default:
		fmt.Fprintf(w, "%s %s\n", k.name, r.Proto)
	}
}

// hearing notes what the connections of a callee bring.
type hearing struct {
	net.Listener
	k *callee
}

func (h *hearing) Accept() (net.Conn, error) {
	conn, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h.k.mu.Lock()
	h.k.conns++
	h.k.mu.Unlock()
	return &heard{Conn: conn, k: h.k}, nil
}

type heard struct {
	net.Conn
	k *callee
}

func (h *heard) Read(p []byte) (int, error) {
	for {
		n, err := h.Conn.Read(p)
		h.k.mu.Lock()
		h.k.sent.Write(p[:n])
		deaf := h.k.deaf && h.k.requests > 0
		h.k.mu.Unlock()
		if err != nil || !deaf {
			return n, err
		}
	}
}
