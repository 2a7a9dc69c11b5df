package main

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// What a target does with a request.
const (
	answers int32 = iota
	resets        // the connection
	hangs         // until it answers again
)

// target is a server behind the proxy that can be made to fail.
type target struct {
	addr   string
	mode   atomic.Int32
	server *http.Server
}

func startTargets(n int) (all []*target, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return all, err
		}
		t := &target{addr: ln.Addr().String()}
		t.server = &http.Server{Handler: http.HandlerFunc(t.serve), ReadHeaderTimeout: time.Minute}
		go t.server.Serve(ln)
		all = append(all, t)
	}
	return all, nil
}

func (t *target) close() { t.server.Close() }

func (t *target) serve(w http.ResponseWriter, r *http.Request) {
	switch t.mode.Load() {
	case resets:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
		return
	case hangs:
		for t.mode.Load() == hangs && r.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	if size, err := strconv.Atoi(r.URL.Query().Get("size")); err == nil && size <= len(zeros) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(zeros[:size])
		return
	}
	_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
}

var zeros = make([]byte, 1<<20)
