package observe

import (
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	t.Parallel()
	var c Clock
	at := time.Date(2026, 11, 21, 9, 49, 13, 7e6, time.FixedZone("elsewhere", 3600))
	s := c.Stamp(at)
	if got, want := string(s.HTTPDate[:]), at.UTC().Format(http.TimeFormat); got != want {
		t.Errorf("date %q, want %q", got, want)
	}
	if got, want := string(s.CLF[:]), "21/Nov/2026:08:49:13 +0000"; got != want {
		t.Errorf("clf %q, want %q", got, want)
	}
	if got, want := string(c.AppendRFC3339(nil, at)), "2026-11-21T08:49:13.007Z"; got != want {
		t.Errorf("rfc 3339 %q, want %q", got, want)
	}
	if c.Stamp(at.Add(100*time.Millisecond)) != s {
		t.Error("the same second was formatted twice")
	}
	if old := c.Stamp(at.Add(-time.Second)); old.Unix != s.Unix-1 || c.Stamp(at) != s {
		t.Error("an older moment is wrong or displaced the newer one")
	}
	if far := c.Stamp(at.Add(-recentSeconds * time.Second)); far.Unix != s.Unix-recentSeconds || c.Stamp(at).Unix != s.Unix {
		t.Error("two seconds that share a place are mixed up")
	}
	if got := c.Stamp(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)); got.HTTPDate[0] != 'T' {
		t.Errorf("a date without fixed width gave %q", got.HTTPDate)
	}
}

func TestClockDoesNotAllocate(t *testing.T) {
	var c Clock
	at := time.Now()
	buf := make([]byte, 0, 64)
	c.Stamp(at)
	if n := testing.AllocsPerRun(1000, func() { buf = c.AppendRFC3339(buf[:0], at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		format IDFormat
		form   string
	}{
		{Tinyflake, `^[1-9A-HJ-NP-Za-km-z]{11}$`},
		{UUID, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
	}
	for _, tt := range tests {
		form := regexp.MustCompile(tt.form)
		var mu sync.Mutex
		seen := map[string]bool{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5000 {
					id := string(tt.format.Append(nil, time.Now()))
					mu.Lock()
					if seen[id] || !form.MatchString(id) {
						t.Errorf("id %q is malformed or came twice", id)
					}
					seen[id] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
}

func TestTinyflakesSortByTimePrefix(t *testing.T) {
	t.Parallel()
	at := time.Unix(58*58*58*9000, 0) // the prefix has just wrapped
	a, b := Tinyflake.Append(nil, at), Tinyflake.Append(nil, at.Add(time.Hour))
	if string(a[:3]) != "111" || string(b[:3]) <= string(a[:3]) {
		t.Errorf("prefixes %s and %s", a[:3], b[:3])
	}
}

func TestParseIDFormat(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]IDFormat{"": Tinyflake, "tinyflake": Tinyflake, "uuid": UUID} {
		if got, err := ParseIDFormat(word); err != nil || got != want {
			t.Errorf("%q gives %v, %v", word, got, err)
		}
	}
	if _, err := ParseIDFormat("snowflake"); err == nil {
		t.Error("an unknown word is accepted")
	}
}

func TestRequestIDsDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, MaxIDLen)
	now := time.Now()
	for _, f := range []IDFormat{Tinyflake, UUID} {
		if n := testing.AllocsPerRun(1000, func() { buf = f.Append(buf[:0], now) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkTinyflake(b *testing.B) { benchmarkID(b, Tinyflake) }
func BenchmarkUUID(b *testing.B)      { benchmarkID(b, UUID) }

func benchmarkID(b *testing.B, f IDFormat) {
	buf := make([]byte, 0, MaxIDLen)
	now := time.Now()
	for b.Loop() {
		buf = f.Append(buf[:0], now)
	}
}
