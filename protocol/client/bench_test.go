package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

type allow struct{}

func (allow) Name() string { return "allow" }

func (allow) Request(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
	return protocol.Allow(), nil
}

type fields [][2][]byte

func (f fields) Len() int               { return len(f) }
func (f fields) At(i int) (n, v []byte) { return f[i][0], f[i][1] }

func twelve() fields {
	var out fields
	for _, l := range [][2]string{{"Host", "shop.example.org"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"Accept-Language", "en-US,en;q=0.5"}, {"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"Referer", "https://shop.example.org/start"}, {"Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"}, {"Cache-Control", "no-cache"},
		{"Sec-Fetch-Dest", "document"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Site", "same-origin"}, {"Priority", "u=0, i"}} {
		out = append(out, [2][]byte{[]byte(l[0]), []byte(l[1])})
	}
	return out
}

func view(id string) *wire.RequestView {
	return &wire.RequestView{CorrelationID: id, RequestID: []byte(id), Client: netip.MustParseAddrPort("192.0.2.7:40000"), Protocol: "HTTP/1.1", RouteID: "shop",
		UpstreamID: "backend", Time: time.Now(), Method: []byte("GET"), URI: []byte("/articles/42?ref=start"), Headers: twelve()}
}

func start(tb testing.TB, a agent.Agent, o client.Options) *client.Client {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "a.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	s := agent.NewServer(a, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	o.Name, o.Address, o.ProxyID = "test", path, "proxy"
	c := client.New(o)
	c.Start()
	tb.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		tb.Fatal(err)
	}
	return c
}

func BenchmarkCall(b *testing.B) {
	for _, enc := range []protocol.Encoding{protocol.MsgPack, protocol.JSON} {
		b.Run(string(enc), func(b *testing.B) {
			c := start(b, allow{}, client.Options{JSONOnly: enc == protocol.JSON})
			v := view("")
			var r protocol.Response
			b.ReportAllocs()
			before := cpu()
			for i := 0; b.Loop(); i++ {
				v.CorrelationID = fmt.Sprint(i)
				s := c.Session(v.CorrelationID)
				if err := s.Call(v, time.Now().Add(time.Second), nil, &r); err != nil {
					b.Fatal(err)
				}
				s.End()
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

func BenchmarkCallParallel(b *testing.B) {
	c := start(b, allow{}, client.Options{})
	var n atomic.Uint64
	b.ReportAllocs()
	b.SetParallelism(16)
	before := cpu()
	b.RunParallel(func(pb *testing.PB) {
		v := view("")
		var r protocol.Response
		for pb.Next() {
			v.CorrelationID = fmt.Sprint(n.Add(1))
			s := c.Session(v.CorrelationID)
			if err := s.Call(v, time.Now().Add(5*time.Second), nil, &r); err != nil {
				b.Error(err)
				return
			}
			s.End()
		}
	})
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkOpenLoop makes 1,000 calls a second whatever the answers do, to an agent in a process of its own, and reports what the calls take and cost. What the
// load itself costs is measured first, with everything but the calls, and subtracted.
func BenchmarkOpenLoop(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.sock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SENTINEL_TEST_AGENT=1", "SENTINEL_SOCKET="+path)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	c := dial(b, path, client.Options{})
	eventually(b, "the agent is there", func() bool { _, err := ask(c, "first", time.Second); return err == nil })
	for b.Loop() {
		const calls = 5000
		idle := openLoop(b, calls, func(string) {})
		theirs := processCPU(b, cmd.Process.Pid)
		loaded := openLoop(b, calls, func(id string) {
			v := view(id)
			var r protocol.Response
			s := c.Session(id)
			if err := s.Call(v, time.Now().Add(time.Second), nil, &r); err != nil {
				b.Error(err)
			}
			s.End()
		})
		theirs = processCPU(b, cmd.Process.Pid) - theirs
		b.ReportMetric(float64(loaded.p50.Nanoseconds())/1e3, "p50-us")
		b.ReportMetric(float64(loaded.p99.Nanoseconds())/1e3, "p99-us")
		b.ReportMetric(float64((loaded.cpu-idle.cpu).Nanoseconds())/1e3/calls, "proxy-cpu-us")
		b.ReportMetric(float64(theirs.Nanoseconds())/1e3/calls, "agent-cpu-us")
	}
}

type loopResult struct{ p50, p99, cpu time.Duration }

// openLoop calls f at 1,000 a second.
func openLoop(b *testing.B, n int, f func(id string)) loopResult {
	b.Helper()
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	before, begin := cpu(), time.Now()
	for i := range took {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Millisecond)))
		wg.Go(func() {
			sent := time.Now()
			f(fmt.Sprint("open-", i))
			took[i] = time.Since(sent)
		})
	}
	wg.Wait()
	used := cpu() - before
	slices.Sort(took)
	return loopResult{took[n/2], took[n*99/100], used}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processCPU is the processor time of another process, from the scheduler's account in nanoseconds.
func processCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("no account of process %d: %v", pid, err)
	}
	var sum time.Duration
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		var ns int64
		_, _ = fmt.Sscan(string(text), &ns)
		sum += time.Duration(ns)
	}
	return sum
}
