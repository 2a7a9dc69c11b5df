package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func watch(t *testing.T, d config.Discovery) (*Set, func() string) {
	t.Helper()
	if d.Timeout == 0 {
		d.Timeout = 2 * time.Second
	}
	if d.MaxTTL == 0 {
		d.MinTTL, d.MaxTTL = 10*time.Millisecond, 20*time.Millisecond
	}
	if d.MaxTargets == 0 {
		d.MaxTargets = 100
	}
	s := NewSet(slog.New(slog.DiscardHandler), observe.NewMetrics("test", nil))
	t.Cleanup(s.Close)
	c := config.Config{Upstreams: []config.Upstream{{ID: "u", Discovery: &d}}}
	s.Watch(context.Background(), &c)
	return s, func() string {
		var out []string
		for _, target := range s.Apply(c).Upstreams[0].Targets {
			text := target.Address
			if target.Weight != 1 {
				text += fmt.Sprintf(" weight=%d", target.Weight)
			}
			if target.Zone != "" {
				text += " zone=" + target.Zone
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
}

func eventually(t *testing.T, targets func() string, want string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); targets() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("targets are %q, want %q", targets(), want)
		}
	}
}

func TestAddresses(t *testing.T) {
	n := names.Start(t)
	n.Set("app.test.", "A", "app.test. 1 IN CNAME real.test.", "real.test. 1 IN A 192.0.2.1", "real.test. 1 IN A 192.0.2.2", "other.test. 1 IN A 198.51.100.66", "real.test. 1 IN A 192.0.2.1")
	n.Set("app.test.", "AAAA", "app.test. 1 IN AAAA 2001:db8::1")
	s, targets := watch(t, config.Discovery{Type: "dns", Hostname: "app.test", Port: 80, Resolvers: []string{n.Addr}})
	if got, want := targets(), "192.0.2.1:80, 192.0.2.2:80, [2001:db8::1]:80"; got != want { // and not what somebody else's record says
		t.Fatalf("targets are %q, want %q", got, want)
	}
	n.Set("app.test.", "AAAA")
	n.Set("app.test.", "A", "app.test. 1 IN A 192.0.2.3")
	eventually(t, targets, "192.0.2.3:80")
	n.Set("app.test.", "A") // no answer, no change
	before := n.Asked()
	for n.Asked() < before+4 {
		time.Sleep(5 * time.Millisecond)
	}
	if got := targets(); got != "192.0.2.3:80" {
		t.Errorf("an empty answer left %q", got)
	}
	if s.metrics.Upstream("u").DiscoveryErrors.Load() == 0 {
		t.Error("not counted")
	}
}

// A TTL says when to ask again, within the bounds.
func TestTTL(t *testing.T) {
	n := names.Start(t)
	n.Set("long.test.", "A", "long.test. 3600 IN A 192.0.2.1")
	n.Set("long.test.", "AAAA")
	for name, c := range map[string]struct {
		min, max time.Duration
		again    bool
	}{
		"max-ttl": {time.Millisecond, 20 * time.Millisecond, true},
		"ttl":     {time.Millisecond, time.Hour, false},
	} {
		before := n.Asked()
		s, _ := watch(t, config.Discovery{Type: "dns", Hostname: "long.test", Port: 80, Resolvers: []string{n.Addr}, MinTTL: c.min, MaxTTL: c.max})
		end := time.Now().Add(300 * time.Millisecond)
		for time.Now().Before(end) && n.Asked() < before+6 {
			time.Sleep(time.Millisecond)
		}
		s.Close()
		if asked := n.Asked() - before; (asked >= 6) != c.again {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

// A server that says nothing does not use up the time of the next; one that answers another question, or with another's id, is not believed.
func TestResolvers(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	good, liar := names.Start(t), names.Start(t)
	for _, n := range []*names.Server{good, liar} {
		n.Set("app.test.", "A", "app.test. 1 IN A 192.0.2.1")
		n.Set("app.test.", "AAAA")
	}
	liar.Set("app.test.", "A", "evil.test. 1 IN A 198.51.100.66")
	began := time.Now()
	_, targets := watch(t, config.Discovery{Type: "dns", Hostname: "app.test", Port: 80, Resolvers: []string{silent.LocalAddr().String(), good.Addr}, Timeout: time.Second})
	if got := targets(); got != "192.0.2.1:80" {
		t.Errorf("behind a silent server: %q after %v", got, time.Since(began))
	}
	for name, mask := range map[string]func(q, a *dns.Msg){
		"another name in the answer": nil,
		"another question": func(q, a *dns.Msg) {
			a.Question[0].Name = "evil.test."
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "evil.test.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(198, 51, 100, 66)}}
		},
		"another id": func(q, a *dns.Msg) { a.Id++ },
		"a question": func(q, a *dns.Msg) { a.Response = false },
	} {
		liar.Mask(mask)
		if _, targets := watch(t, config.Discovery{Type: "dns", Hostname: "app.test", Port: 80, Resolvers: []string{liar.Addr}, Timeout: 300 * time.Millisecond}); targets() != "" {
			t.Errorf("%s: believed: %q", name, targets())
		}
	}
	liar.Mask(nil)
	liar.Set("app.test.", "A", "app.test. 1 IN A 192.0.2.1")
	if _, targets := watch(t, config.Discovery{Type: "dns", Hostname: "app.test", Port: 80, Resolvers: []string{liar.Addr}}); targets() != "192.0.2.1:80" {
		t.Error("the innocent twin was not believed")
	}
}

func TestServices(t *testing.T) {
	n := names.Start(t)
	n.Set("_http._tcp.app.test.", "SRV", "_http._tcp.app.test. 1 IN SRV 10 60 8080 a.test.", "_http._tcp.app.test. 1 IN SRV 10 0 8081 b.test.", "_http._tcp.app.test. 1 IN SRV 20 5 9090 spare.test.")
	for host, ip := range map[string]string{"a.test.": "192.0.2.1", "b.test.": "192.0.2.2", "spare.test.": "192.0.2.9"} {
		n.Set(host, "A", host+" 1 IN A "+ip)
		n.Set(host, "AAAA")
	}
	_, targets := watch(t, config.Discovery{Type: "srv", Service: "_http._tcp.app.test", Resolvers: []string{n.Addr}})
	if got, want := targets(), "192.0.2.1:8080 weight=60, 192.0.2.2:8081"; got != want {
		t.Errorf("targets are %q, want %q", got, want)
	}
	n.Set("_http._tcp.app.test.", "SRV", "_http._tcp.app.test. 1 IN SRV 20 5 9090 spare.test.")
	eventually(t, targets, "192.0.2.9:9090 weight=5")
	var many []string
	for i := range 60 { // more than a datagram holds
		many = append(many, fmt.Sprintf("_http._tcp.app.test. 1 IN SRV 1 5 %d a.test.", 10_000+i))
	}
	n.Set("_http._tcp.app.test.", "SRV", many...)
	for end := time.Now().Add(15 * time.Second); strings.Count(targets(), ",") != 59; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(targets())
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "targets")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	s, targets := watch(t, config.Discovery{Type: "file", Path: path, Interval: 5 * time.Millisecond, Timeout: 50 * time.Millisecond, MaxTargets: 3})
	if targets() != "" {
		t.Fatal(targets())
	}
	write("# the first\n127.0.0.1:81 weight=5 zone=a\n\nunix:/run/x.sock # and one more\n")
	eventually(t, targets, "127.0.0.1:81 weight=5 zone=a, unix:/run/x.sock")
	write(`[{"address": "app-1:80"}, {"address": "app-2:80", "weight": 0, "zone": "b"}]`)
	eventually(t, targets, "app-1:80, app-2:80 weight=0 zone=b")
	for _, broken := range []string{
		"", "[", "nonsense", "127.0.0.1:81 weight=x", "127.0.0.1:81 colour=red", "127.0.0.1:81\n127.0.0.1:81", "a:1\nb:1\nc:1\nd:1", `[{"address": "a:1", "wieght": 2}]`,
		`[{"address": "a:1"}] x`, `[{"address": "a:1", "weight": -1}]`, "127.0.0.1:99999", "127.0.0.1:81 weight=10001",
	} {
		before := s.metrics.Upstream("u").DiscoveryErrors.Load()
		write(broken)
		for end := time.Now().Add(10 * time.Second); s.metrics.Upstream("u").DiscoveryErrors.Load() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%q is taken over: %s", broken, targets())
			}
		}
		if got := targets(); got != "app-1:80, app-2:80 weight=0 zone=b" {
			t.Errorf("%q left %q", broken, got)
		}
		write(`[{"address": "app-1:80"}, {"address": "app-2:80", "weight": 0, "zone": "b"}]`)
	}
	for _, text := range []string{"[", "127.0.0.1:81 weight=x", "127.0.0.1:81 colour=red", `[{"address": "a:1", "wieght": 2}]`, `[{"address": "a:1"}] x`, `[{"address": "a:1", "weight": -1}]`, "a:1 weight=10001"} {
		if got, err := parseTargets([]byte(text)); err == nil {
			t.Errorf("%q is accepted: %v", text, got)
		}
	}
	w := s.watchers["u"]
	for _, text := range []string{"nonsense", "127.0.0.1:81\n127.0.0.1:81", "a:1\nb:1\nc:1\nd:1", "127.0.0.1:99999"} {
		list, err := parseTargets([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.check(list); err == nil {
			t.Errorf("%q is accepted: %v", text, got)
		}
	}
}

// What a set watches for follows the configuration; a watcher that stays as it is goes on.
func TestWatchersFollowTheConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "targets")
	os.WriteFile(path, []byte("a:1"), 0o600)
	s := NewSet(slog.New(slog.DiscardHandler), observe.NewMetrics("test", nil))
	t.Cleanup(s.Close)
	d := config.Discovery{Type: "file", Path: path, Interval: time.Hour, Timeout: time.Second, MaxTargets: 5}
	other := d
	other.MaxTargets = 6
	c := config.Config{Upstreams: []config.Upstream{{ID: "a", Discovery: &d}, {ID: "b", Discovery: &d}, {ID: "listed", Targets: []config.Target{{Address: "x:1"}}}}}
	s.Watch(context.Background(), &c)
	first, second := s.watchers["a"], s.watchers["b"]
	c = config.Config{Upstreams: []config.Upstream{{ID: "a", Discovery: &d}, {ID: "b", Discovery: &other}}}
	s.Watch(context.Background(), &c)
	if s.watchers["a"] != first || s.watchers["b"] == second {
		t.Error("not the ones that changed were replaced")
	}
	<-second.done
	c.Upstreams = c.Upstreams[1:]
	s.Keep(&c)
	<-first.done
	if applied := s.Apply(c); len(applied.Upstreams[0].Targets) != 1 || c.Upstreams[0].Targets != nil {
		t.Error("the configuration itself was changed, or nothing was found")
	}
	if !slices.Contains([]int{1}, len(s.watchers)) {
		t.Error(len(s.watchers))
	}
}

func FuzzTargets(f *testing.F) {
	f.Add([]byte("127.0.0.1:80 weight=3 zone=a # c\n"))
	f.Add([]byte(`[{"address":"a:1","weight":0,"zone":"z"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		targets, err := parseTargets(text)
		for _, target := range targets {
			if err == nil && (target.Weight < 0 || target.Weight > maxWeight) {
				t.Fatal(target)
			}
		}
	})
}
