package bans

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func ban(network string, since time.Time, length time.Duration) entry {
	return entry{Ban: Ban{Network: netip.MustParsePrefix(network), Since: since, Until: since.Add(length), Reason: "test"}}
}

func TestTable(t *testing.T) {
	t.Parallel()
	tb := newTable(4)
	for _, e := range []entry{ban("192.0.2.7/32", now, time.Minute), ban("198.51.100.0/24", now, time.Hour), ban("2001:db8::/64", now, time.Hour)} {
		if err := tb.put(e, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		addr  string
		after time.Duration
		want  bool
	}{
		{"192.0.2.7", 0, true}, {"::ffff:192.0.2.7", 0, true}, {"192.0.2.7", time.Minute, false}, {"192.0.2.8", 0, false},
		{"198.51.100.200", time.Minute, true}, {"198.51.101.1", 0, false}, {"2001:db8::9", 0, true}, {"2001:db8:0:1::9", 0, false}, {"fe80::1%eth0", 0, false},
	} {
		if _, got := tb.banned(netip.MustParseAddr(tt.addr), now.Add(tt.after)); got != tt.want {
			t.Errorf("%s after %v: %v", tt.addr, tt.after, got)
		}
	}
	if err := tb.put(ban("203.0.113.1/32", now, time.Hour), now); err != nil {
		t.Fatal(err)
	}
	if err := tb.put(ban("203.0.113.2/32", now, time.Hour), now); err != ErrFull {
		t.Errorf("in a full table: %v", err)
	}
	if err := tb.put(ban("203.0.113.2/32", now.Add(2*time.Minute), time.Hour), now.Add(2*time.Minute)); err != nil {
		t.Errorf("when one is over there is a place: %v", err)
	}
	if !tb.lift(netip.MustParsePrefix("198.51.100.0/24"), now.Add(time.Second)) || tb.lift(netip.MustParsePrefix("198.51.100.0/24"), now.Add(time.Second)) {
		t.Error("a ban is lifted once")
	}
	if _, got := tb.banned(netip.MustParseAddr("198.51.100.1"), now.Add(2*time.Second)); got {
		t.Error("banned after it was lifted")
	}
	if err := tb.put(ban("198.51.100.0/24", now, time.Hour), now); err != nil || len(tb.entries()) != 4 {
		t.Error(err, tb.entries())
	}
	if _, got := tb.banned(netip.MustParseAddr("198.51.100.1"), now.Add(2*time.Second)); got {
		t.Error("what was known before brings a lifted ban back")
	}
	if list, more := tb.list("", 1, now.Add(2*time.Minute)); len(list) != 1 || !more || list[0].Network.String() != "2001:db8::/64" {
		t.Error(list, more)
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.77/24": "192.0.2.0/24", "::ffff:10.1.2.3/128": "10.1.2.3/32", "2001:db8::1/64": "2001:db8::/64",
		"10.0.0.0/7": "", "0.0.0.0/0": "", "::/0": "", "2001::/16": "", "::ffff:0.0.0.0/96": "",
	} {
		p, err := canonical(netip.MustParsePrefix(in))
		if (err != nil) != (want == "") || err == nil && p.String() != want {
			t.Errorf("%s: %v %v", in, p, err)
		}
	}
}

// TestTwoInstances: what one bans or lifts the other knows, whoever writes first, and a damaged file is neither believed nor overwritten.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bans")
	a, b := newTable(100), newTable(100)
	fa, fb := &store{path: path}, &store{path: path}
	sync := func(s *store, tb *table, at time.Time) {
		t.Helper()
		if err := s.sync(tb, at); err != nil {
			t.Fatal(err)
		}
	}
	_ = a.put(ban("192.0.2.1/32", now, time.Hour), now)
	_ = b.put(ban("192.0.2.2/32", now, time.Minute), now)
	sync(fa, a, now)
	sync(fb, b, now)
	sync(fa, a, now)
	for _, tb := range []*table{a, b} {
		if tb.size(now) != 2 {
			t.Errorf("%v", tb.entries())
		}
	}
	b.lift(netip.MustParsePrefix("192.0.2.1/32"), now.Add(time.Second))
	_ = a.put(ban("192.0.2.3/32", now.Add(time.Second), time.Hour), now)
	sync(fa, a, now.Add(time.Second))
	sync(fb, b, now.Add(time.Second))
	sync(fa, a, now.Add(time.Second))
	if a.size(now.Add(time.Second)) != 2 || b.size(now.Add(time.Second)) != 2 {
		t.Errorf("%v\n%v", a.entries(), b.entries())
	}
	if _, got := a.banned(netip.MustParseAddr("192.0.2.1"), now.Add(time.Second)); got {
		t.Error("lifted by the other, and still banned")
	}
	late := newTable(100)
	sync(&store{path: path}, late, now.Add(2*time.Minute))
	if late.size(now.Add(2*time.Minute)) != 1 {
		t.Errorf("a later instance: %v", late.entries())
	}
	if err := os.WriteFile(path, []byte("root:x:0:0::/root:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = a.put(ban("192.0.2.9/32", now.Add(2*time.Second), time.Hour), now)
	if err := fa.sync(a, now.Add(2*time.Second)); err == nil || !strings.Contains(err.Error(), "not one of bans") {
		t.Errorf("another file: %v", err)
	}
	if text, _ := os.ReadFile(path); !bytes.HasPrefix(text, []byte("root:")) {
		t.Error("somebody else's file was overwritten")
	}
}

// open makes a service with an API and one trigger.
func open(t *testing.T, c Config) (*Service, func(method, query, body string) (int, string)) {
	t.Helper()
	dir := t.TempDir()
	c.Socket = filepath.Join(dir, "api")
	if c.Entries == 0 {
		c.Entries = 1000
	}
	c.Default, c.Max = time.Minute, time.Hour
	s, err := Open(c, &Counters{}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", c.Socket) }}}
	t.Cleanup(s.Close)
	return s, func(method, query, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://bans/v1/bans"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	s, call := open(t, Config{Entries: 3})
	for _, tt := range []struct {
		method, query, body string
		want                int
		says                string
	}{
		{"PUT", "?network=192.0.2.1", `{"seconds": 60, "reason": "scan\nner"}`, 200, `"reason":"scan ner"`},
		{"PUT", "?network=2001:db8::1/64", "", 200, `"network":"2001:db8::/64"`},
		{"PUT", "?network=0.0.0.0/0", "", 400, "wider"},
		{"PUT", "?network=nobody", "", 400, "nobody"},
		{"PUT", "?network=192.0.2.3", `{"seconds": 3601}`, 400, "at most 3600"},
		{"PUT", "?network=192.0.2.3", `{"seconds": -1}`, 400, "more than 0"},
		{"PUT", "?network=192.0.2.3", `{"second": 5}`, 400, "body"},
		{"PUT", "?network=192.0.2.3", strings.Repeat("[", 5000), 400, "body"},
		{"PUT", "?network=192.0.2.3", "", 200, "192.0.2.3/32"},
		{"PUT", "?network=192.0.2.4", "", 507, "full"},
		{"GET", "", "", 200, `"more":false`},
		{"DELETE", "?network=192.0.2.3", "", 204, ""},
		{"DELETE", "?network=192.0.2.3", "", 404, "not banned"},
		{"POST", "?network=192.0.2.3", "", 405, ""},
	} {
		if code, text := call(tt.method, tt.query, tt.body); code != tt.want || !strings.Contains(text, tt.says) {
			t.Errorf("%s %s %.20s: %d %s", tt.method, tt.query, tt.body, code, text)
		}
	}
	if _, banned := s.Banned(netip.MustParseAddr("192.0.2.1")); !banned || s.Size() != 2 {
		t.Error(banned, s.Size())
	}
	if info, err := os.Stat(s.conf.Socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Error(info.Mode(), err)
	}
	if s.Counters.ByAPI.Load() != 3 || s.Counters.Refused.Load() != 1 || s.Counters.Lifted.Load() != 1 {
		t.Error("counts")
	}
}

// TestAPIUnderAbuse: who opens connections and says nothing keeps nobody else out for long.
func TestAPIUnderAbuse(t *testing.T) {
	t.Parallel()
	s, call := open(t, Config{})
	for range 200 {
		c, err := net.Dial("unix", s.conf.Socket)
		if err != nil {
			break // the kernel's queue is full
		}
		defer c.Close()
	}
	if code, _ := call("PUT", "?network=192.0.2.1", ""); code != 200 {
		t.Error(code)
	}
}

func line(client string, tags ...string) string {
	b, _ := json.Marshal(map[string]any{"event_type": "blocked", "client_ip": client, "tags": tags, "rule_ids": []string{"942100"}, "reason": "AGENT"})
	return string(b) + "\n"
}

// TestTrigger: who does it too often is banned, who does it less often is not, and refusals of a ban do not count.
func TestTrigger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	appendTo := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(strings.Repeat(line("192.0.2.66", "waf"), 10)) // the past
	at := now
	s := &Service{Counters: &Counters{}, conf: Config{Entries: 100}, table: newTable(100), log: slog.New(slog.DiscardHandler), now: func() time.Time { return at }, logs: map[string]*follower{path: {path: path}}, silent: map[string]bool{}}
	s.counters = []*counter{newCounter(Trigger{Name: "attacks", File: path, Tags: []string{"waf"}, Count: 3, Within: time.Minute, Length: time.Hour})}
	t.Cleanup(func() { s.logs[path].close() })
	s.look()
	banned := func(addr string) bool { _, is := s.Banned(netip.MustParseAddr(addr)); return is }
	if banned("192.0.2.66") {
		t.Error("banned for what was before")
	}
	appendTo(line("192.0.2.1", "waf") + line("192.0.2.1", "x", "waf") + line("192.0.2.2", "waf") + "{\"torn")
	s.look()
	at = at.Add(30 * time.Second)
	appendTo("\":1}\n" + line("192.0.2.2", "denylist") + line("192.0.2.1", "waf"))
	s.look()
	if b, is := s.Banned(netip.MustParseAddr("192.0.2.1")); !is || b.Reason != "trigger attacks" || !b.Until.Equal(at.Add(time.Hour)) {
		t.Errorf("%+v %v", b, is)
	}
	appendTo(line("192.0.2.2", "waf"))
	at = at.Add(45 * time.Second) // the first one of 192.0.2.2 counts no more
	appendTo(line("192.0.2.2", "waf"))
	s.look()
	if banned("192.0.2.2") {
		t.Error("the slow one is banned")
	}
	for i := range 3 { // addresses of one customer
		appendTo(line(fmt.Sprintf("2001:db8::%d", i+1), "waf"))
	}
	appendTo(strings.Repeat(line("192.0.2.3", "waf", Tag), 10) + strings.Repeat(line("192.0.2.4", "other"), 10) + "no JSON\n" + line("no address", "waf"))
	s.look()
	if !banned("2001:db8::ffff") || banned("2001:db8:0:1::1") {
		t.Error("IPv6 is banned by /64")
	}
	if banned("192.0.2.3") || banned("192.0.2.4") {
		t.Error("banned for what does not count")
	}
	if n := s.Counters.BadLines.Load(); n != 2 {
		t.Errorf("%d bad lines", n)
	}
}

// TestTriggerIsBounded: a million clients are counted in the place of maxWatched.
func TestTriggerIsBounded(t *testing.T) {
	t.Parallel()
	c := newCounter(Trigger{Count: 2, Within: time.Hour})
	old := netip.MustParsePrefix("192.0.2.1/32")
	c.hit(old, now)
	for i := range 3 * maxWatched {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if c.hit(netip.PrefixFrom(a, 32), now) {
			t.Fatal("banned at the first hit")
		}
	}
	if len(c.seen) != maxWatched || c.seen[old] != nil {
		t.Errorf("%d clients are counted", len(c.seen))
	}
	c.expire(now.Add(2 * time.Hour))
	if len(c.seen) != 0 || c.root.next != &c.root {
		t.Errorf("%d are left", len(c.seen))
	}
}

func TestFollower(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	f := &follower{path: path}
	t.Cleanup(f.close)
	var got []string
	look := func(want ...string) {
		t.Helper()
		got = nil
		if err := f.look(func(b []byte) { got = append(got, string(b)) }); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("got %.100q, want %.100q", got, want)
		}
	}
	write := func(text string, flags int) {
		t.Helper()
		g, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if _, err := g.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	look()
	write("a\nb\nc", os.O_APPEND)
	look("a", "b")
	write("d\n"+strings.Repeat("x", maxLine+1), os.O_APPEND)
	look("cd")
	write("y\ne\n", os.O_APPEND)
	look("e")
	write("f\n", os.O_APPEND) // written after the rotation, to the old file
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("g\n", 0)
	look("f", "g")
	write("", os.O_TRUNC)
	look()
	write("h\n", os.O_APPEND)
	look("h")
	os.Remove(path)
	look()
	write("i\n", 0)
	look("i")
	late := &follower{path: path}
	t.Cleanup(late.close)
	if err := late.look(func(b []byte) { t.Errorf("the past is read: %s", b) }); err != nil {
		t.Fatal(err)
	}
	if err := (&follower{path: dir}).look(nil); err == nil {
		t.Error("a directory is no log")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header + "\n192.0.2.1/32 1 2 ban why not\n2001:db8::/64 3 4 lift \n"))
	f.Add([]byte(header + "\n0.0.0.0/0 1 2 ban x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		tb := newTable(1 << 20)
		for _, e := range list {
			_ = tb.put(e, time.Unix(0, 0))
		}
		dir := t.TempDir()
		s := &store{path: filepath.Join(dir, "bans")}
		if err := s.write(tb); err != nil {
			t.Fatal(err)
		}
		again, err := os.Open(s.path)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if list, err := parse(again); err != nil || len(list) != len(tb.all) {
			t.Fatalf("what was written is not read: %v", err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(line("192.0.2.1", "waf")))
	f.Add([]byte(`{"event_type":"blocked","client_ip":"fe80::1%x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, p, ok, err := parseRecord(text); ok && (err != nil || !p.IsValid() || p != p.Masked()) {
			t.Fatalf("%v %v", p, err)
		}
	})
}
