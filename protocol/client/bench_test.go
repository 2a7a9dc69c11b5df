package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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

// BenchmarkOpenLoop sends 1,000 calls a second whatever the answers do, and reports the median, p99 and CPU of a call (both ends, and the load itself).
func BenchmarkOpenLoop(b *testing.B) {
	c := start(b, allow{}, client.Options{})
	const rate = 1000
	for b.Loop() {
		lat := make([]time.Duration, 2*rate)
		var wg sync.WaitGroup
		before, begin := cpu(), time.Now()
		for i := range lat {
			due := begin.Add(time.Duration(i) * time.Second / rate)
			time.Sleep(time.Until(due))
			wg.Go(func() {
				v := view(fmt.Sprint(i))
				var r protocol.Response
				s := c.Session(v.CorrelationID)
				sent := time.Now()
				if err := s.Call(v, sent.Add(time.Second), nil, &r); err != nil {
					b.Error(err)
				}
				s.End()
				lat[i] = time.Since(sent)
			})
		}
		wg.Wait()
		used := cpu() - before
		slices.Sort(lat)
		b.ReportMetric(float64(lat[len(lat)/2].Microseconds()), "p50-us")
		b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds()), "p99-us")
		b.ReportMetric(float64(used.Microseconds())/float64(len(lat)), "cpu-us/call")
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
