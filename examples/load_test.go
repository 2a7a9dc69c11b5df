package examples

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load is a steady loop of requests by independent workers, some on new connections, some on kept ones. Every failure is remembered.
type load struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	sent     int
	ended    map[string]int // of them, by URL
	failures []failure
}

// failure is one request that did not get what it should.
type failure struct {
	started, ended time.Time
	url            string
	err            error
}

func (f failure) String() string {
	return fmt.Sprintf("%s started %s, failed after %v: %v", f.url, f.started.Format("15:04:05.000"), f.ended.Sub(f.started).Round(time.Millisecond), f.err)
}

// startLoad begins to ask for url and expects the status, every interval from each of two workers.
func startLoad(interval time.Duration, expect map[string]int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, ended: map[string]int{}}
	for url := range expect {
		l.ended[url] = 0
	}
	for url, status := range expect {
		for _, keep := range []bool{true, false} {
			l.workers.Go(func() { l.work(ctx, url, status, keep, interval) })
		}
	}
	return l
}

// stop ends the loop and returns how many requests were sent and which failed.
func (l *load) stop() (sent int, failures []failure) {
	l.cancel()
	l.workers.Wait()
	return l.sent, l.failures
}

// progress waits until n more requests for each URL have ended: one URL may go on while another waits for what was killed.
func (l *load) progress(n int) error {
	l.mu.Lock()
	before := maps.Clone(l.ended)
	l.mu.Unlock()
	return eventually(func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for url, had := range before {
			if more := l.ended[url] - had; more < n {
				return fmt.Errorf("%d requests for %s ended, want %d", more, url, n)
			}
		}
		return nil
	})
}

func (l *load) work(ctx context.Context, url string, status int, keep bool, interval time.Duration) {
	transport := &http.Transport{DisableKeepAlives: !keep}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f := failure{started: time.Now(), url: url}
		f.err = ask(client, url, status)
		f.ended = time.Now()
		l.mu.Lock()
		l.sent++
		l.ended[url]++
		if f.err != nil {
			l.failures = append(l.failures, f)
		}
		l.mu.Unlock()
	}
}

func ask(client *http.Client, url string, status int) error {
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != status {
		return fmt.Errorf("status %d, want %d: %.200s", res.StatusCode, status, body)
	}
	return nil
}

// window is the time in which a process was being killed: from before the signal until it was gone.
type window struct{ from, to time.Time }

// check fails the test for every failure that is not excused: a request that was under way when a process died may fail, if excuse lists that moment; a refused
// connection never.
func (l *load) check(t *testing.T, what string, excuse []window) {
	t.Helper()
	sent, failures := l.stop()
	excused := 0
	for _, f := range failures {
		refused := errors.Is(f.err, syscall.ECONNREFUSED)
		inFlight := slices.ContainsFunc(excuse, func(w window) bool { return f.started.Before(w.to) && f.ended.After(w.from) })
		if !refused && inFlight {
			excused++
			continue
		}
		t.Errorf("%s: %v", what, f)
	}
	t.Logf("%s: %d requests, %d in flight on a killed process failed", what, sent, excused)
	if sent < 20 {
		t.Errorf("%s: only %d requests: the loop did not load anything", what, sent)
	}
}

// reachable waits until a TCP connection to addr succeeds.
func reachable(addr string) error {
	return eventually(func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
