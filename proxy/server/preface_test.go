package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// behind is a proxy that is told its clients by whoever comes from the loopback addresses.
func behind(t *testing.T, backend string, timeout time.Duration) *proxytest.Instance {
	t.Helper()
	cfg := proxytest.ToBackends(backend)
	cfg.Listeners = []config.Listener{{ID: proxytest.ListenerID, ProxyProtocol: &config.ProxyProtocol{
		From: []config.Source{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}, Timeout: timeout,
	}}}
	cfg.Limits.MaxConnectionsPerClient = 1
	return proxytest.Proxy(t, cfg, proxytest.Options{})
}

// A drain does not wait for a header as long as its timeout allows.
func TestDrainEndsWaitingForAHeader(t *testing.T) {
	t.Parallel()
	p := behind(t, "127.0.0.1:1", time.Hour)
	silent, begun := p.Dial(t), p.Dial(t)
	begun.Send("PROXY TCP4 ")
	proxytest.Eventually(t, "both are connections", func() bool { return p.Server.Connections() == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
	defer cancel()
	if err := p.Server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	silent.WantClosed()
	begun.WantClosed()
}

// Many clients through one load balancer at the same time, each with the one connection it may have; and again, when the first ones have gone.
func TestClientsAreCountedByTheirHeader(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Forwarded-For")) }))
	p := behind(t, backend, proxytest.Patience)
	for round := range 3 {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				client := fmt.Sprintf("203.0.113.%d", i)
				if err := askAs(p.Addr, client); err != nil {
					t.Errorf("round %d, %s: %v", round, client, err)
				}
			})
		}
		all.Wait()
		proxytest.Eventually(t, "all have gone", func() bool { return p.Server.Connections() == 0 })
	}
}

func askAs(addr, client string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(proxytest.Patience))
	fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.1 1 80\r\nGET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", client)
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if body := string(answer[max(0, len(answer)-len(client)):]); body != client {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}
