package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// site is a server with a firewall in front of the same application.
type site struct {
	name    string
	start   func(dir, backend string) (*running, error)
	refuses int // how it answers attacks
}

// running is a site that answers.
type running struct {
	address string
	group   []*process
}

func (r *running) stop() {
	for _, p := range r.group {
		p.stop()
	}
}

// cpu returns the time that all processes of the site have spent so far.
func (r *running) cpu() (sum time.Duration) {
	for _, p := range r.group {
		sum += p.cpu()
	}
	return sum
}

// endToEnd measures whole sites over HTTP: the CPU time that all their processes take for one request.
func endToEnd(bin string, duration time.Duration) (failed bool) {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail("%v", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello\n")
	})}
	go func() { _ = server.Serve(app) }()
	defer server.Close()
	fmt.Println("\nCPU time of all processes for one request, over HTTP")
	fmt.Printf("%-24s", "")
	for _, r := range requests {
		fmt.Printf(" %24s", r.name)
	}
	fmt.Println()
	for _, s := range sites(bin) {
		failed = s.measure(app.Addr().String(), duration) || failed
	}
	return failed
}

func (s *site) measure(backend string, duration time.Duration) (failed bool) {
	dir, err := os.MkdirTemp("", "waf-bench")
	if err != nil {
		return fail("%v", err)
	}
	defer os.RemoveAll(dir)
	r, err := s.start(dir, backend)
	if err != nil {
		return fail("%s: %v", s.name, err)
	}
	defer r.stop()
	fmt.Printf("%-24s", s.name)
	for i := range requests {
		perRequest, wrong, err := load(r, &requests[i], s.refuses, duration)
		fmt.Printf(" %24s", perRequest)
		if err != nil || wrong > 0 {
			fmt.Println()
			failed = fail("%s: %s: %d answers are not what they should be; %v", s.name, requests[i].name, wrong, err)
		}
	}
	fmt.Println()
	return failed
}

// load sends one kind of request over some connections for a time. It returns the CPU time of one, and how many were answered wrongly.
func load(r *running, kind *request, refuses int, duration time.Duration) (perRequest time.Duration, wrong int64, err error) {
	const connections = 4
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	want := http.StatusOK
	if kind.attack {
		want = refuses
	}
	var all sync.WaitGroup
	var sent, bad atomic.Int64
	before, end := r.cpu(), time.Now().Add(duration)
	for range connections {
		all.Go(func() {
			for time.Now().Before(end) {
				sent.Add(1)
				resp, err := client.Do(kind.over(r.address))
				if err != nil {
					bad.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != want {
					bad.Add(1)
				}
			}
		})
	}
	all.Wait()
	if sent.Load() == 0 {
		return 0, 0, fmt.Errorf("nothing was sent")
	}
	return ((r.cpu() - before) / time.Duration(sent.Load())).Round(100 * time.Nanosecond), bad.Load(), nil
}
