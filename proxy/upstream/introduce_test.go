package upstream

import (
	"net/netip"
	"testing"
	"time"
)

// A reload that changes how connections begin shares no endpoint with the pools before it, in either direction.
func TestEndpointsAreSharedByVersion(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	plain := newTestPool(t, upstreamConfig(b.addr), testDeps())
	mustAcquire(t, mustPick(t, plain), false).Release(true)
	for _, version := range []string{"v1", "v2", ""} {
		cfg := upstreamConfig(b.addr)
		cfg.SendProxyProtocol = version
		next, err := newPool(cfg, nil, plain, nil, nil, plain.deps)
		if err != nil {
			t.Fatal(err)
		}
		shared := next.targets[0].endpoint == plain.targets[0].endpoint
		next.Close()
		if shared != (version == "") {
			t.Errorf("version %q: shared is %v", version, shared)
		}
	}
}

// No connection that was opened for one client is used again, whoever asks; its twin without the header is.
func TestIntroducedConnectionsAreNotPooled(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	for _, version := range []string{"v1", ""} {
		cfg := upstreamConfig(b.addr)
		cfg.SendProxyProtocol = version
		p := newTestPool(t, cfg, testDeps())
		tg := mustPick(t, p)
		origin := &Origin{Client: netip.MustParseAddrPort("203.0.113.7:5000"), Local: netip.MustParseAddrPort("192.0.2.1:443")}
		for i := range 3 {
			c, reused, err := tg.AcquireFor(time.Time{}, origin)
			if err != nil {
				t.Fatal(err)
			}
			if reused != (version == "" && i > 0) {
				t.Errorf("version %q, connection %d: reused is %v", version, i, reused)
			}
			if version != "" {
				want := "PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\n"
				got := make([]byte, len(want)) // the backend sends everything back
				for n := 0; n < len(got); {
					k, err := c.TCP.Read(got[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += k
				}
				if string(got) != want {
					t.Errorf("the connection begins with %q", got)
				}
			}
			c.Release(true)
		}
	}
}
