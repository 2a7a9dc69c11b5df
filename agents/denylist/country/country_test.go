package country

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/country/mmdbtest"
)

var world = map[string]mmdbtest.Record{
	"192.0.2.0/24":    mmdbtest.Country("AA"),
	"198.51.100.0/25": {"registered_country": mmdbtest.Record{"iso_code": "BB"}},
	"203.0.113.7/32":  {"country_code": "CC"},
	"2001:db8::/32":   mmdbtest.Country("DD"),
}

func TestLookup(t *testing.T) {
	t.Parallel()
	db, err := Open(mmdbtest.Write(t, world))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"192.0.2.9": "AA", "::ffff:192.0.2.9": "AA", "198.51.100.1": "BB", "198.51.100.200": "", "203.0.113.7": "CC", "203.0.113.8": "",
		"2001:db8::5": "DD", "2001:db8::5%eth0": "DD", "2001:db9::": "",
	} {
		if got := db.Lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Lookup(%s) = %q, want %q", addr, got, want)
		}
	}
	var none *Database
	if got := none.Lookup(netip.MustParseAddr("192.0.2.9")); got != "" {
		t.Errorf("no database knows %q", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"missing": filepath.Join(dir, "none"), "folder": dir, "garbage": garbage,
		"no countries": mmdbtest.Write(t, map[string]mmdbtest.Record{"192.0.2.0/24": {"asn": "64500"}}),
	} {
		if _, err := Open(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	path := mmdbtest.Write(t, world)
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	now, addr := time.Now(), netip.MustParseAddr("192.0.2.9")
	poll := func(step string, wantReload, wantErr bool, want string) {
		t.Helper()
		now = now.Add(time.Second)
		reloaded, err := db.Poll(now)
		if reloaded != wantReload || (err != nil) != wantErr || db.Lookup(addr) != want {
			t.Fatalf("%s: Poll = %v, %v; country %q, want %q", step, reloaded, err, db.Lookup(addr), want)
		}
	}
	poll("unchanged", false, false, "AA")
	replace := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace([]byte("broken"))
	poll("broken", false, true, "AA")
	poll("still broken", false, false, "AA")
	replace(mmdbtest.Bytes(t, map[string]mmdbtest.Record{"192.0.2.0/24": mmdbtest.Country("ZZ")}))
	poll("replaced", true, false, "ZZ")
}
