package client

import (
	"errors"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
)

// TestPing looks at a connection at chosen times: a quiet one is pinged, and an agent that has answered a ping must answer every one.
func TestPing(t *testing.T) {
	t.Parallel()
	pings := make(chan struct{}, 1)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.JSON)
		for n := 0; ; n++ {
			ft, _, ok := c.NextEvent()
			if !ok {
				return
			}
			if ft != protocol.TypePing {
				t.Errorf("frame type %#x", byte(ft))
			}
			if n == 0 {
				c.SendFrame(protocol.TypePong, []byte(`{"sequence":1,"timestamp_ms":2}`))
			}
			pings <- struct{}{}
		}
	})
	c := New(Options{Name: "p", Address: path, ProxyID: "x"})
	cn, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	go func() { defer close(reading); cn.readInBackground() }()
	defer func() { cn.close(ErrClosed); <-reading }()
	start := time.Now()
	if err := cn.ping(start.Add(protocol.PingInterval - time.Second)); err != nil || cn.pinged.Load() != 0 {
		t.Fatalf("pinged too early: %v", err)
	}
	if err := cn.ping(start.Add(protocol.PingInterval + time.Second)); err != nil {
		t.Fatal(err)
	}
	<-pings
	for cn.pinged.Load() != 0 || !cn.ponged.Load() {
		time.Sleep(time.Millisecond)
	}
	quiet := start.Add(3 * protocol.PingInterval)
	if err := cn.ping(quiet); err != nil {
		t.Fatal(err)
	}
	<-pings // and no answer
	if err := cn.ping(quiet.Add(protocol.PongTimeout - time.Second)); err != nil {
		t.Errorf("given up too early: %v", err)
	}
	if err := cn.ping(quiet.Add(protocol.PongTimeout)); !errors.Is(err, ErrLost) {
		t.Errorf("missing pong: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n := 1; n < 100; n++ {
		full := min(protocol.ReconnectBase<<min(n-1, 20), protocol.ReconnectMax)
		for range 100 {
			if d := backoff(n); d < full/2 || d > full {
				t.Fatalf("attempt %d: %v, want between %v and %v", n, d, full/2, full)
			}
		}
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	for us := range uint64(100_000) {
		i := bucketOf(us)
		if up := uint64(upper(i)); up < us || i > 0 && uint64(upper(i-1)) >= us || up > us+us/8+1 {
			t.Fatalf("%dus is in bucket %d, which ends at %d", us, i, up)
		}
	}
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	if p50, p99 := h.quantile(0.5), h.quantile(0.99); p50 < 500 || p50 > 570 || p99 < 985 || p99 > 1120 {
		t.Errorf("p50 %d, p99 %d", p50, p99)
	}
}
