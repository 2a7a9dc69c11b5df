package server

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

func forwardedFor(values ...string) []http1.Field {
	fields := []http1.Field{{Name: []byte("Host"), Value: []byte("h"), ID: http1.Host}}
	for _, v := range values {
		fields = append(fields, http1.Field{Name: nameFor, Value: []byte(v), ID: http1.XForwardedFor})
	}
	return fields
}

var testTrusted = []config.Source{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("fd00::/8")}}

func TestOriginalClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fields []http1.Field
		want   string
	}{
		"none":                      {forwardedFor(), "10.0.0.1"},
		"one":                       {forwardedFor("1.2.3.4"), "1.2.3.4"},
		"spoofed left of the truth": {forwardedFor("9.9.9.9, 1.2.3.4"), "1.2.3.4"},
		"through trusted":           {forwardedFor("9.9.9.9, 1.2.3.4, 10.1.1.1 ,10.2.2.2"), "1.2.3.4"},
		"only trusted":              {forwardedFor("10.1.1.1, 10.2.2.2"), "10.1.1.1"},
		"several fields":            {forwardedFor("9.9.9.9", "1.2.3.4", "10.1.1.1"), "1.2.3.4"},
		"garbage stops":             {forwardedFor("9.9.9.9, nonsense, 10.1.1.1"), "10.1.1.1"},
		"empty elements":            {forwardedFor(", 1.2.3.4,, "), "1.2.3.4"},
		"port":                      {forwardedFor("1.2.3.4:567"), "1.2.3.4"},
		"v6":                        {forwardedFor("2001:db8::1"), "2001:db8::1"},
		"v6 in brackets":            {forwardedFor("[2001:db8::1]"), "2001:db8::1"},
		"v6 with port":              {forwardedFor("[2001:db8::1]:567"), "2001:db8::1"},
		"v6 through trusted v6":     {forwardedFor("2001:db8::1, fd00::5"), "2001:db8::1"},
		"mapped v4":                 {forwardedFor("::ffff:1.2.3.4"), "1.2.3.4"},
		"zone":                      {forwardedFor("fe80::1%eth0"), "10.0.0.1"},
		"unknown":                   {forwardedFor("unknown"), "10.0.0.1"},
	} {
		if got := originalClient(testTrusted, c.fields, netip.MustParseAddr("10.0.0.1")); got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The client is always the peer or an address that stands in the list, and everything to the right of it is trusted.
func FuzzOriginalClient(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "9.9.9.9, 10.0.0.1", "[::1]:80, fd00::1", "[", "]", ":", "[]", "1.2.3.4:", "a,b,,c", "%", "10.0.0.2,\t10.0.0.3"} {
		f.Add(s)
	}
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, list string) {
		got := originalClient(testTrusted, forwardedFor(list), peer)
		if got == peer {
			return
		}
		entries := strings.Split(list, ",")
		for i := len(entries) - 1; i >= 0; i-- {
			entry := strings.Trim(entries[i], " \t")
			if entry == "" {
				continue
			}
			a, ok := parseForwarded([]byte(entry))
			if !ok {
				break
			}
			if a == got {
				return
			}
			if !isTrusted(testTrusted, a) {
				break
			}
		}
		t.Fatalf("client %s out of %q", got, list)
	})
}

func TestContinueTrace(t *testing.T) {
	t.Parallel()
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		old  string
		kept bool
	}{
		{good, true}, {"", false}, {strings.ToUpper(good), false}, {"01" + good[2:], false}, {good + "0", false},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", false}, {strings.Replace(good, "a", "g", 1), false},
	} {
		var got [55]byte
		continueTrace(got[:], []byte(c.old))
		if !validTrace(got[:]) {
			t.Errorf("%q is not a traceparent", got)
		}
		if kept := len(c.old) > 35 && string(got[3:35]) == c.old[3:35]; kept != c.kept {
			t.Errorf("%q became %q", c.old, got)
		}
		if c.kept && (string(got[53:]) != "01" || string(got[36:52]) == c.old[36:52]) {
			t.Errorf("%q became %q", c.old, got)
		}
	}
}
