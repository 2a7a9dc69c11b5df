package upstream

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// healthServer is a real server of gRPC with the health protocol.
func healthServer(t *testing.T) (*health.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, h := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, h)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return h, ln.Addr().String()
}

func grpcChecked(addr, service string) config.Upstream {
	cfg := upstreamConfig(addr)
	cfg.HTTP = config.HTTPVersion{Min: 2, Max: 2, MaxStreams: 10}
	cfg.HealthCheck = &config.HealthCheck{Type: "grpc", Service: service, Interval: 10 * time.Millisecond, Timeout: 5 * time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
	return cfg
}

func waitHealth(t *testing.T, p *Pool, want observe.Health) {
	t.Helper()
	m := p.Targets()[0].Metrics()
	for end := time.Now().Add(20 * time.Second); observe.Health(m.Health.Load()) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("health %v, want %v; last error %s", observe.Health(m.Health.Load()), want, p.Snapshot().Targets[0].LastError)
		}
	}
}

// A target is healthy while the service that is asked about is, whatever the others are.
func TestGRPCHealth(t *testing.T) {
	h, addr := healthServer(t)
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("other", healthpb.HealthCheckResponse_NOT_SERVING)
	p := newTestPool(t, grpcChecked(addr, "orders"), testDeps())
	p.Start()
	waitHealth(t, p, observe.HealthHealthy)
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_NOT_SERVING)
	waitHealth(t, p, observe.HealthUnhealthy)
	if text := p.Snapshot().Targets[0].LastError; !strings.Contains(text, "not SERVING") {
		t.Errorf("last error %q", text)
	}
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	waitHealth(t, p, observe.HealthHealthy)
}

func TestGRPCHealthFailures(t *testing.T) {
	_, addr := healthServer(t)
	unknown := newTestPool(t, grpcChecked(addr, "nobody-knows"), testDeps())
	unknown.Start()
	waitHealth(t, unknown, observe.HealthUnhealthy)
	if text := unknown.Snapshot().Targets[0].LastError; !strings.Contains(text, "grpc-status 5") {
		t.Errorf("last error %q", text)
	}
	whole := newTestPool(t, grpcChecked(addr, ""), testDeps())
	whole.Start()
	waitHealth(t, whole, observe.HealthHealthy)
	b := newBackend(t) // echoes: no HTTP/2
	other := newTestPool(t, grpcChecked(b.addr, ""), testDeps())
	other.Start()
	waitHealth(t, other, observe.HealthUnhealthy)
}

func TestServing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		message string
		good    bool
	}{
		{"serving", "\x00\x00\x00\x00\x02\x08\x01", true},
		{"not serving", "\x00\x00\x00\x00\x02\x08\x02", false},
		{"unknown, the default", "\x00\x00\x00\x00\x00", false},
		{"compressed", "\x01\x00\x00\x00\x02\x08\x01", false},
		{"short", "\x00\x00\x00\x00\x03\x08\x01", false},
		{"two messages", "\x00\x00\x00\x00\x02\x08\x01\x00\x00\x00\x00\x02\x08\x01", false},
		{"nothing", "", false},
		{"another field", "\x00\x00\x00\x00\x02\x10\x01", false},
		{"endless varint", "\x00\x00\x00\x00\x02\x08\xff", false},
	} {
		if err := serving([]byte(tt.message)); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Whatever a target answers, reading it ends and does not panic.
func FuzzHealthAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n7\r\n\x00\x00\x00\x00\x02\x08\x01\r\n0\r\ngrpc-status: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 503 no\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if readCheck(bytes.NewReader(answer)) == nil && !bytes.Contains(answer, []byte("\x08\x01")) {
			t.Errorf("%q passes", answer)
		}
	})
}
