package policy

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/country/mmdbtest"
	"github.com/sentinel-stack/sentinel/protocol"
)

func compile(t testing.TB, text string) (*Policy, *Counters) {
	t.Helper()
	c := &Counters{}
	p, err := New([]byte(text), c)
	if err != nil {
		t.Fatalf("New(%s): %v", text, err)
	}
	return p, c
}

// request builds an event: "METHOD target [client] [name: value]...".
func request(client, method, target string, fields ...string) *protocol.RequestHeaders {
	r := &protocol.RequestHeaders{Metadata: protocol.Metadata{ClientIP: client}, Method: method, URI: target}
	for _, f := range append([]string{"host: www.example.com"}, fields...) {
		name, value, _ := strings.Cut(f, ": ")
		if name == "host" {
			r.Headers = slices.DeleteFunc(r.Headers, func(h protocol.Header) bool { return h.Name == "host" })
		}
		r.Headers = append(r.Headers, protocol.Header{Name: name, Value: value})
	}
	return r
}

func judge(t testing.TB, p *Policy, r *protocol.RequestHeaders) protocol.Verdict {
	t.Helper()
	v, err := p.Judge(r)
	if err != nil {
		t.Fatalf("Judge: %v", err)
	}
	return v
}

// TestJudge holds each attack beside its innocent twin: rule is what must be on record, "" = allowed.
func TestJudge(t *testing.T) {
	t.Parallel()
	p, _ := compile(t, fmt.Sprintf(`{
		"allow-ips": ["10.1.2.3", "2001:db8:1::/48"],
		"allow-paths": "/.well-known/acme-challenge",
		"block-ips": ["10.0.0.0/8", "192.0.2.1"],
		"block-countries": ["XX", "yy"],
		"country-database": %q,
		"block-methods": "TRACE",
		"block-hosts": ["evil.example", "*.bad.example"],
		"block-paths": ["/admin", "/.well-known"],
		"block-paths-exact": "/exact",
		"block-paths-prefix": "/wp-",
		"block-paths-regex": "\\.(bak|sql)$",
		"block-user-agents": [["BadBot", "sqlmap"], "nikto"],
		"block-user-agents-regex": "^$",
		"block-headers": ["x-scanner", "x-env = test"],
		"block-query": "cmd *= /etc/passwd"
	}`, mmdbtest.Write(t, map[string]mmdbtest.Record{"203.0.113.0/24": mmdbtest.Country("XX"), "198.51.100.0/24": mmdbtest.Country("NL")})))
	const ua = "user-agent: Mozilla/5.0"
	for _, c := range []struct {
		name string
		r    *protocol.RequestHeaders
		rule string
	}{
		{"innocent", request("198.51.100.7", "GET", "/", ua), ""},
		{"network", request("10.9.9.9", "GET", "/", ua), "block-ips:10.0.0.0/8"},
		{"network as mapped IPv6", request("::ffff:10.9.9.9", "GET", "/", ua), "block-ips:10.0.0.0/8"},
		{"address", request("192.0.2.1", "GET", "/", ua), "block-ips:192.0.2.1"},
		{"next address", request("192.0.2.2", "GET", "/", ua), ""},
		{"exception in a network", request("10.1.2.3", "GET", "/", ua), ""},
		{"exception wins over all", request("2001:db8:1::9", "TRACE", "/admin", "user-agent: sqlmap"), ""},
		{"country", request("203.0.113.9", "GET", "/", ua), "block-countries:XX"},
		{"method", request("198.51.100.7", "TRACE", "/", ua), "block-methods:TRACE"},
		{"host", request("198.51.100.7", "GET", "/", ua, "host: EVIL.example:80"), "block-hosts:evil.example"},
		{"host below", request("198.51.100.7", "GET", "/", ua, "host: a.b.bad.example"), "block-hosts:*.bad.example"},
		{"host with the same end", request("198.51.100.7", "GET", "/", ua, "host: notbad.example"), ""},
		{"path", request("198.51.100.7", "GET", "/admin/users?x=1", ua), "block-paths:/admin"},
		{"path encoded", request("198.51.100.7", "GET", "/%61dmin", ua), "block-paths:/admin"},
		{"path encoded twice", request("198.51.100.7", "GET", "/%2561dmin", ua), "block-paths:/admin"},
		{"path by dot segments", request("198.51.100.7", "GET", "/x/%2e%2e/admin", ua), "block-paths:/admin"},
		{"path by slashes", request("198.51.100.7", "GET", "//admin", ua), "block-paths:/admin"},
		{"path with parameter", request("198.51.100.7", "GET", "/admin;x=1/y", ua), "block-paths:/admin"},
		{"path with encoded slash", request("198.51.100.7", "GET", "/admin%2Fusers", ua), "block-paths:/admin"},
		{"longer name", request("198.51.100.7", "GET", "/administrator", ua), ""},
		{"exempt path", request("198.51.100.7", "GET", "/.well-known/acme-challenge/x", ua), ""},
		{"exempt path as a ladder", request("198.51.100.7", "GET", "/.well-known/acme-challenge/../../admin", ua), "block-paths:/.well-known"},
		{"exempt path as an encoded ladder", request("198.51.100.7", "GET", "/.well-known/acme-challenge/%2e%2e/%2e%2e/admin", ua), "block-paths:/.well-known"},
		{"exact path", request("198.51.100.7", "GET", "/exact", ua), "block-paths-exact:/exact"},
		{"below the exact path", request("198.51.100.7", "GET", "/exact/x", ua), ""},
		{"prefix", request("198.51.100.7", "GET", "/wp-login.php", ua), "block-paths-prefix:/wp-"},
		{"regex", request("198.51.100.7", "GET", "/db.s%71l", ua), `block-paths-regex:\.(bak|sql)$`},
		{"regex does not see the query", request("198.51.100.7", "GET", "/?f=db.sql", ua), ""},
		{"user agent", request("198.51.100.7", "GET", "/", "user-agent: x badbot/2"), "block-user-agents:badbot"},
		{"no user agent", request("198.51.100.7", "GET", "/"), "block-user-agents-regex:^$"},
		{"header", request("198.51.100.7", "GET", "/", ua, "x-scanner: "), "block-headers:x-scanner"},
		{"header value", request("198.51.100.7", "GET", "/", ua, "x-env: prod", "x-env: test"), "block-headers:x-env = test"},
		{"other header value", request("198.51.100.7", "GET", "/", ua, "x-env: prod"), ""},
		{"query", request("198.51.100.7", "GET", "/?a=b&cmd=cat+%2Fetc%2Fpasswd", ua), "block-query:cmd *= /etc/passwd"},
		{"same text elsewhere in the query", request("198.51.100.7", "GET", "/?q=cmd+/etc/passwd", ua), ""},
	} {
		v := judge(t, p, c.r)
		got := strings.Join(v.Audit.RuleIDs, "|")
		if blocked := v.Action == protocol.ActionBlock; blocked != (c.rule != "") || got != c.rule {
			t.Errorf("%s: %s %q, want %q", c.name, v.Action, got, c.rule)
		}
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	p, c := compile(t, `{"block-paths": "/x", "status": 451, "body": "gone\n", "content-type": "text/html", "tags": "legal"}`)
	v := judge(t, p, request("", "GET", "/x"))
	if v.Action != protocol.ActionBlock || v.Status != 451 || string(v.Body) != "gone\n" || v.Headers.Get("content-type") != "text/html" || v.Headers.Get("cache-control") != "no-store" {
		t.Errorf("refusal %+v", v)
	}
	if !slices.Equal(v.Audit.Tags, []string{"denylist", "legal"}) || !slices.Equal(v.Audit.ReasonCodes, []string{"DENY_PATH"}) {
		t.Errorf("audit %+v", v.Audit)
	}
	if c.Lookups.Load() != 1 || c.Blocked[Path].Load() != 1 {
		t.Error("not counted")
	}
	p, _ = compile(t, `{"block-paths": "/x"}`)
	if v := judge(t, p, request("", "GET", "/x")); v.Status != 403 || string(v.Body) != "Forbidden\n" || v.Headers.Get("content-type") != "text/plain; charset=utf-8" {
		t.Errorf("default refusal %+v", v)
	}
}

func TestRuleSets(t *testing.T) {
	t.Parallel()
	p, c := compile(t, `{
		"allow-ips": "192.0.2.100",
		"rule-sets": {
			"a-trial": {"action": "log", "tags": "trial", "block-paths": "/x", "block-ips": "192.0.2.0/24"},
			"b-teapot": {"status": 418, "block-paths": "/x/y", "allow-ips": "192.0.2.50"},
			"c-late": {"block-paths": "/x/y/z", "status": 404}
		}}`)
	for _, d := range []struct {
		client, path string
		status       int
		rules        []string
	}{
		{"198.51.100.1", "/", 0, nil},
		{"198.51.100.1", "/x", 0, []string{"rule-sets.a-trial.block-paths:/x"}},
		{"192.0.2.9", "/other", 0, []string{"rule-sets.a-trial.block-ips:192.0.2.0/24"}},
		{"198.51.100.1", "/x/y/z", 418, []string{"rule-sets.a-trial.block-paths:/x", "rule-sets.b-teapot.block-paths:/x/y"}},
		{"192.0.2.50", "/x/y/z", 404, []string{"rule-sets.a-trial.block-ips:192.0.2.0/24", "rule-sets.c-late.block-paths:/x/y/z"}},
		{"192.0.2.100", "/x/y/z", 0, nil},
	} {
		v := judge(t, p, request(d.client, "GET", d.path))
		if v.Status != d.status || !slices.Equal(v.Audit.RuleIDs, d.rules) {
			t.Errorf("%s %s: status %d, rules %q; want %d, %q", d.client, d.path, v.Status, v.Audit.RuleIDs, d.status, d.rules)
		}
	}
	if c.Logged[Path].Load() != 2 || c.Logged[IP].Load() != 2 || c.Blocked[Path].Load() != 2 || c.Exempted.Load() != 2 {
		t.Errorf("counters: logged %d %d, blocked %d, exempted %d", c.Logged[Path].Load(), c.Logged[IP].Load(), c.Blocked[Path].Load(), c.Exempted.Load())
	}
	v := judge(t, p, request("198.51.100.1", "GET", "/x/y"))
	if v.Audit.Custom[0] != (protocol.Header{Name: "rule-set", Value: "b-teapot"}) {
		t.Errorf("custom %v", v.Audit.Custom)
	}
}

func TestIgnorePathCase(t *testing.T) {
	t.Parallel()
	text := `{"ignore-path-case": %v, "block-paths": "/Admin", "block-paths-exact": "/E", "block-paths-prefix": "/P-", "block-paths-regex": "^/R[0-9]$"}`
	fold, _ := compile(t, fmt.Sprintf(text, true))
	exact, _ := compile(t, fmt.Sprintf(text, false))
	for _, path := range []string{"/ADMIN/x", "/e", "/p-q", "/r7", "/%41%44min"} {
		if v := judge(t, fold, request("", "GET", path)); v.Action != protocol.ActionBlock {
			t.Errorf("%s passed", path)
		}
		if v := judge(t, exact, request("", "GET", path)); v.Action != protocol.ActionAllow {
			t.Errorf("%s was refused where case matters", path)
		}
	}
}

func TestUndecided(t *testing.T) {
	t.Parallel()
	p, c := compile(t, `{"block-ips": "10.0.0.0/8"}`)
	for _, client := range []string{"", "unix", "10.0.0.1:80"} {
		if v, err := p.Judge(request(client, "GET", "/")); err == nil || v.Action != protocol.Undecided {
			t.Errorf("client %q: %v, %v", client, v.Action, err)
		}
	}
	if c.Undecided.Load() != 3 {
		t.Error("not counted")
	}
	p, _ = compile(t, `{"block-paths": "/x"}`)
	if v := judge(t, p, request("unix", "GET", "/")); v.Action != protocol.ActionAllow {
		t.Error("a set that needs no address asked for one")
	}
	p, _ = compile(t, ``)
	if v := judge(t, p, request("", "GET", "/")); v.Action != protocol.ActionAllow {
		t.Error("the empty policy refuses")
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.txt")
	if err := os.WriteFile(bad, []byte("10.0.0.0/8\n10.0.0.0/33\n# x\nexample\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		`{"block-ip": "1.2.3.4"}`:                             {"block-ip: unknown key"},
		`{"block-ips": "10.0.0.300"}`:                         {`block-ips: not an IP address or network: "10.0.0.300"`},
		`{"block-ips": ["10.0.0.1", "x/8"]}`:                  {`block-ips[1]: not a network: "x/8"`},
		`{"block-ips": 10}`:                                   {"block-ips: cannot use number 10, want text"},
		`{"block-ips": [["a", true]]}`:                        {"block-ips[0][1]: cannot use boolean, want text"},
		`{"block-ips": [[["1.2.3.4"]]]}`:                      {"block-ips[0][0]: cannot use list, want text"},
		`{"block-ips": null}`:                                 {"block-ips: wants at least one value"},
		`{"block-ips": []}`:                                   {"block-ips: wants at least one value"},
		`{"block-ips": {"a": 1}}`:                             {"block-ips: cannot use object, want text"},
		`{"status": 200}`:                                     {"status: 200 is not an error status"},
		`{"status": "403"}`:                                   {"status: cannot use string, want number"},
		`{"action": "drop"}`:                                  {`action: unknown action "drop"`},
		`{"content-type": "a\r\nx: y"}`:                       {"content-type: holds a character"},
		`{"block-paths": "admin"}`:                            {`block-paths: path "admin" does not begin with /`},
		`{"block-paths-regex": ["/a", "("]}`:                  {"block-paths-regex[1]: not a regular expression: missing closing )"},
		`{"block-countries": "NLD"}`:                          {`block-countries: not a country code: "NLD"`},
		`{"block-methods": "GET POST"}`:                       {`block-methods: not a method: "GET POST"`},
		`{"block-hosts": "example.com:80"}`:                   {`block-hosts: not a host name`},
		`{"block-query": "a=b"}`:                              {`block-query: "a=b": write the operator with blanks`},
		`{"country-database": "/nonexistent.mmdb"}`:           {"country-database: cannot open list"},
		`{"max-list-bytes": 0}`:                               {"max-list-bytes: 0 is not a positive size"},
		`{"max-line-bytes": -1}`:                              {"max-line-bytes: -1 is not between"},
		`{"block-ips-file": "/nonexistent"}`:                  {"block-ips-file: cannot open list"},
		`{"rule-sets": {"bots": {"block-user-agents": ""}}}`:  {"rule-sets.bots.block-user-agents: an empty text is in everything"},
		`{"rule-sets": {"bots": {"ignore-path-case": true}}}`: {"rule-sets.bots.ignore-path-case: unknown key"},
		`{"rule-sets": {"": {}}}`:                             {"rule-sets: a rule set wants a name"},
		`{"block-ips-file": "` + bad + `", "status": 7, "block-methods": "("}`: { // all of them, in one go
			"block-ips-file: " + bad + `:2: not a network: "10.0.0.0/33"`, bad + ":4: not an IP address", "status: 7", "block-methods"},
	} {
		_, err := New([]byte(text), &Counters{})
		if err == nil {
			t.Errorf("%s: accepted", text)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", text, err, part)
			}
		}
	}
}

// TestCountriesNeedDatabase runs only where none of the default databases is installed.
func TestCountriesNeedDatabase(t *testing.T) {
	t.Parallel()
	_, err := New([]byte(`{"block-countries": ["XX", "YY"]}`), &Counters{})
	if err == nil {
		t.Skip("this machine has a country database in its default place")
	}
	if !strings.Contains(err.Error(), "block-countries: no country database found; name one with country-database") {
		t.Errorf("error %v", err)
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ips")
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("10.0.0.0/8\n")
	p, c := compile(t, fmt.Sprintf(`{"block-ips": "192.0.2.1", "block-ips-file": %q}`, path))
	log := slog.New(slog.DiscardHandler)
	now := time.Now()
	expect := func(step string, reloads, failures uint64, blocked ...string) {
		t.Helper()
		now = now.Add(time.Second)
		p.Poll(now, log)
		if c.Reloads.Load() != reloads || c.ReloadErrors.Load() != failures {
			t.Errorf("%s: %d reloads, %d failures; want %d, %d", step, c.Reloads.Load(), c.ReloadErrors.Load(), reloads, failures)
		}
		for _, client := range []string{"192.0.2.1", "10.0.0.1", "172.16.0.1"} {
			got := judge(t, p, request(client, "GET", "/")).Action == protocol.ActionBlock
			if want := slices.Contains(blocked, client); got != want {
				t.Errorf("%s: %s blocked = %v", step, client, got)
			}
		}
	}
	expect("start", 0, 0, "192.0.2.1", "10.0.0.1")
	replace("172.16.0.0/12 # new\n")
	expect("replaced", 1, 0, "192.0.2.1", "172.16.0.1")
	replace("10.0.0.0/8\nnonsense\n")
	expect("a bad line keeps the last good list", 1, 1, "192.0.2.1", "172.16.0.1")
	expect("and is told once", 1, 1, "192.0.2.1", "172.16.0.1")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("gone", 1, 2, "192.0.2.1", "172.16.0.1")
	replace("10.0.0.0/8\n")
	now = now.Add(time.Second)
	p.Poll(now, log) // the new file may have got the inode of the old one; then one look is not enough
	expect("back", 2, 2, "192.0.2.1", "10.0.0.1")
	var sizes []string
	p.Sizes(func(list string, n int) { sizes = append(sizes, fmt.Sprint(list, " ", n)) })
	if !slices.Equal(sizes, []string{"block-ips 2"}) {
		t.Errorf("sizes %q", sizes)
	}
}

func TestAllowAllocatesNothing(t *testing.T) {
	p, _ := compile(t, `{"allow-ips": "10.0.0.1", "block-ips": "192.0.2.0/24", "block-paths": "/admin", "block-paths-regex": "\\.bak$", "block-user-agents": "badbot", "block-hosts": "*.bad.example", "block-query": "debug", "block-headers": "x-scanner"}`)
	r := request("198.51.100.7", "GET", "/index.html?a=b", "user-agent: mozilla/5.0", "accept: */*")
	if n := testing.AllocsPerRun(200, func() { _, _ = p.Judge(r) }); n > 0 {
		t.Errorf("%v allocations for an allowed request", n)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"block-ips": ["10.0.0.0/8"], "rule-sets": {"a": {"action": "log", "block-query": "x ~ y"}}}`))
	f.Add([]byte(`{"block-paths": [["/a"], "/b"], "status": 404, "tags": ["x"]}`))
	f.Add([]byte(`{"block-headers": "a *= b", "block-hosts": "*.x", "max-line-bytes": 10}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "-file") || strings.Contains(string(text), "database") {
			return // not the file system
		}
		p, err := New(text, &Counters{})
		if err != nil {
			return
		}
		if v, err := p.Judge(request("192.0.2.1", "GET", "/a?x=y", "user-agent: z")); err != nil || v.Action == protocol.Undecided {
			t.Fatalf("%q: verdict %v, %v", text, v.Action, err)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	var ips strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&ips, "%s/24\n", netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 0}))
	}
	path := filepath.Join(b.TempDir(), "ips")
	if err := os.WriteFile(path, []byte(ips.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	p, _ := compile(b, fmt.Sprintf(`{"block-ips-file": %q, "block-paths": "/admin", "block-user-agents": ["badbot", "sqlmap"]}`, path))
	r := request("198.51.100.7", "GET", "/index.html?a=b", "user-agent: mozilla/5.0 (X11; Linux x86_64)", "accept: */*")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = p.Judge(r)
	}
}

// TestMillionFromFile holds the whole way from a file to a verdict to its budget: a million networks in under 3 s, 2 µs a request. It is counted in
// time of the processor, because what else runs on the machine says nothing about the list.
func TestMillionFromFile(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a budget is no measure under the race detector")
	}
	var text strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "%d.%d.%d.%d/30\n", 11+i>>22, i>>14&255, i>>6&255, i<<2&255)
	}
	path := filepath.Join(t.TempDir(), "million")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start := processorTime(t)
	p, _ := compile(t, fmt.Sprintf(`{"block-ips-file": %q}`, path))
	loaded := processorTime(t) - start
	p.Sizes(func(list string, n int) {
		if n != 1_000_000 {
			t.Errorf("%s has %d entries", list, n)
		}
	})
	r := request("198.51.100.7", "GET", "/")
	const rounds = 100_000
	start = processorTime(t)
	for range rounds {
		if v, err := p.Judge(r); err != nil || v.Action != protocol.ActionAllow {
			t.Fatal(v, err)
		}
	}
	each := (processorTime(t) - start) / rounds
	t.Logf("%d bytes loaded in %v, %v a request", text.Len(), loaded, each)
	if loaded > 3*time.Second || each > 2*time.Microsecond {
		t.Errorf("loaded in %v (budget 3s), %v a request (budget 2µs)", loaded, each)
	}
}

// TestPageNamesEveryKey: a key that is not on the agent's page does not exist for its users.
func TestPageNamesEveryKey(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, typ := range []reflect.Type{reflect.TypeFor[config](), reflect.TypeFor[setConfig](), reflect.TypeFor[feedConfig](), reflect.TypeFor[bansConfig](), reflect.TypeFor[triggerConfig]()} {
		for i := range typ.NumField() {
			key := typ.Field(i).Tag.Get("json")
			if key == "" {
				continue
			}
			keys++
			if typ == reflect.TypeFor[setConfig]() {
				key = strings.TrimSuffix(key, "-file")
			}
			if !strings.Contains(string(raw), "| `"+key+"` |") {
				t.Errorf("README.md has no row for %s", key)
			}
		}
	}
	if keys < 30 {
		t.Errorf("only %d keys seen", keys)
	}
}

// processorTime is what this process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
