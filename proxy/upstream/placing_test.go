package upstream

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// hashed is an upstream of four targets that nobody dials.
func hashed(algorithm, key string) config.Upstream {
	u := upstreamConfig("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1")
	u.LoadBalancing = algorithm
	u.Balancing = config.Balancing{
		HashKey: key, VirtualNodes: 50, TableSize: 5003, Fallback: "round-robin", SubsetSize: 4, MinLocal: 70, Decay: 1e9, Interval: 1e9, MaxErrorPercent: 5, MaxLatency: 1e9,
		Cookie: config.StickyCookie{Name: "SERVERID", Path: "/", SameSite: "lax", Secure: true},
	}
	return u
}

func field(name, value string) http1.Field {
	return http1.Field{Name: []byte(name), Value: []byte(value), ID: http1.LookupField([]byte(name))}
}

func TestPlaceLooksAtTheKeyAndNothingElse(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	request := func(key string) *Request {
		return &Request{
			Client: client, Path: []byte("/path/" + key), Query: []byte("a=1&userx=0&user=" + key + "&b=2"),
			Fields: []http1.Field{field("X-User", key), field("Cookie", "userx=0; user="+key+"; b=2")},
		}
	}
	for _, key := range []string{"path", "header:x-user", "cookie:user", "query:user"} {
		t.Run(key, func(t *testing.T) {
			p := newTestPool(t, hashed("maglev", key), testDeps())
			at := func(r *Request) int {
				var h balance.Hint
				p.Place(&h, r)
				tg, err := p.Pick(&h)
				if err != nil {
					t.Fatal(err)
				}
				tg.Done(observe.FailureNone, nil)
				return tg.Index
			}
			used := map[int]bool{}
			for i := range 64 {
				r := request(strings.Repeat("k", i+1))
				first := at(r)
				used[first] = true
				r.Client = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				if at(r) != first {
					t.Fatalf("the client's address has moved key %d", i)
				}
			}
			if len(used) != 4 {
				t.Errorf("%d of 4 targets used", len(used))
			}
			// Without the key the client decides.
			used = map[int]bool{}
			for i := range 64 {
				used[at(&Request{Client: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})})] = true
			}
			if len(used) != 4 {
				t.Errorf("without the key %d of 4 targets used", len(used))
			}
		})
	}
}

func TestPlaceAndPickDoNotAllocate(t *testing.T) {
	for _, k := range balance.Kinds() {
		for _, key := range []string{"client-ip", "path", "header:x-user", "cookie:user", "query:user"} {
			cfg := hashed(k.Name, key)
			cfg.Outliers = &config.Outliers{ConsecutiveErrors: 5}
			cfg.Breaker = &config.Breaker{Failures: 5, Successes: 1, OpenFor: 1e9, HalfOpen: 1}
			p := newTestPool(t, cfg, testDeps())
			r := &Request{
				Client: netip.MustParseAddr("2001:db8::1"), Path: []byte("/a/b"), Query: []byte("x=1&user=me"),
				Fields: []http1.Field{field("X-User", "me"), field("Cookie", "x=1; SERVERID=abc; user=me")},
			}
			h := new(balance.Hint)
			if n := testing.AllocsPerRun(500, func() {
				h.Reset()
				p.Place(h, r)
				tg, _ := p.Pick(h)
				_ = p.Cookie(h, tg)
				tg.Observe(1000, false)
				tg.Done(observe.FailureNone, nil)
			}); n != 0 {
				t.Errorf("%s by %s: %v allocations", k.Name, key, n)
			}
		}
	}
}

// value is the cookie that a pool gives for a target.
func value(t *testing.T, p *Pool, address string) []byte {
	t.Helper()
	i := slices.IndexFunc(p.Targets(), func(tg *Target) bool { return tg.Address == address })
	set := p.Cookie(new(balance.Hint), p.Targets()[i])
	v, _, ok := bytes.Cut(bytes.TrimPrefix(set, []byte("SERVERID=")), []byte(";"))
	if !ok || len(v) != 22 || bytes.Contains(set, []byte("10.0.0")) {
		t.Fatalf("cookie %q", set)
	}
	return v
}

// goes is where a request with that cookie goes.
func goes(t *testing.T, p *Pool, cookie string) string {
	t.Helper()
	var h balance.Hint
	p.Place(&h, &Request{Client: netip.MustParseAddr("192.0.2.1"), Fields: []http1.Field{field("Cookie", "SERVERID="+cookie)}})
	tg, err := p.Pick(&h)
	if err != nil {
		t.Fatal(err)
	}
	tg.Done(observe.FailureNone, nil)
	return tg.Address
}

func TestStickyCookieIsSignedAndSurvivesReloads(t *testing.T) {
	t.Parallel()
	cfg := hashed("sticky", "")
	first, err := NewSet([]config.Upstream{cfg}, nil, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	p := first.Pool("web")
	cookie := string(value(t, p, "10.0.0.3:1"))
	for range 8 {
		if at := goes(t, p, cookie); at != "10.0.0.3:1" {
			t.Fatalf("went to %s", at)
		}
	}
	changed := cfg
	changed.Targets = slices.Clone(cfg.Targets)
	slices.Reverse(changed.Targets)
	second, err := NewSet([]config.Upstream{changed}, first, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if at := goes(t, second.Pool("web"), cookie); at != "10.0.0.3:1" {
		t.Errorf("after the reload it went to %s", at)
	}
	// What was signed for another upstream, by another process, or by nobody, names no target.
	other := cfg
	other.ID = "other"
	third, err := NewSet([]config.Upstream{other}, first, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	fourth, err := NewSet([]config.Upstream{cfg}, nil, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer fourth.Close()
	for name, pool := range map[string]*Pool{"another upstream": third.Pool("other"), "another process": fourth.Pool("web")} {
		if i := pool.placing.sticky.find([]byte(cookie)); i >= 0 {
			t.Errorf("%s believes the cookie", name)
		}
	}
	for _, bad := range []string{"", "2", cookie[:21], cookie + "A", strings.ToUpper(cookie), "10.0.0.3:1"} {
		if i := p.placing.sticky.find([]byte(bad)); i >= 0 {
			t.Errorf("%q is believed", bad)
		}
	}
}

func TestStickyKeyFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	cfg := hashed("sticky", "")
	cfg.Balancing.Cookie.KeyFile = file
	if _, err := NewPool(cfg, testDeps()); err == nil || !strings.Contains(err.Error(), "cannot open key file of upstream web") {
		t.Errorf("without the file: %v", err)
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("short")
	if _, err := NewPool(cfg, testDeps()); err == nil || !strings.Contains(err.Error(), "has 5 bytes, want at least 32") {
		t.Errorf("with a short key: %v", err)
	}
	write(strings.Repeat("k", 32))
	one, two := newTestPool(t, cfg, testDeps()), newTestPool(t, cfg, testDeps())
	cookie := string(value(t, one, "10.0.0.2:1"))
	if at := goes(t, two, cookie); at != "10.0.0.2:1" {
		t.Errorf("another process with the same key sends it to %s", at)
	}
	// The same configuration with another key in the file is another pool.
	set, err := NewSet([]config.Upstream{cfg}, nil, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	same, err := NewSet([]config.Upstream{cfg}, set, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	write(strings.Repeat("n", 32))
	next, err := NewSet([]config.Upstream{cfg}, same, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if set.Pool("web") != same.Pool("web") || same.Pool("web") == next.Pool("web") {
		t.Error("the pool does not follow its key file")
	}
}
