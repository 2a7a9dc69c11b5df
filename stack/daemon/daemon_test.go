package daemon

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRelabel(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"# HELP a b\n", "# HELP a b\n"},
		{"a 1\n", `a{service="p"} 1` + "\n"},
		{`a{b="c"} 1` + "\n", `a{service="p",b="c"} 1` + "\n"},
		{`a{} 1` + "\n", `a{service="p"} 1` + "\n"},
		{`a{service="x"} 1` + "\n", `a{service="p",exported_service="x"} 1` + "\n"},
		{`a{b="c",service="x"} 1` + "\n", `a{service="p",b="c",exported_service="x"} 1` + "\n"},
		{`a{b=" } {"} 1` + "\n", `a{service="p",b=" } {"} 1` + "\n"},
		{`a_bucket{le="+Inf"} 3 # {trace="x"} 1` + "\n", `a_bucket{service="p",le="+Inf"} 3 # {trace="x"} 1` + "\n"},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		relabel(&b, []byte(tt.in), "p")
		if b.String() != tt.want {
			t.Errorf("%q gives %q, want %q", tt.in, b.String(), tt.want)
		}
	}
}

// FuzzRelabel: every sample gets the label once, comments stay, no line is made or lost.
func FuzzRelabel(f *testing.F) {
	f.Add("# TYPE a counter\na 1\na{b=\"c\"} 2\n")
	f.Add("a{b=\"\\\"}\"} 2\n")
	f.Add("{\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		relabel(&b, []byte(text), "p")
		for line := range strings.Lines(b.String()) {
			if line != "\n" && line[0] != '#' && !strings.Contains(line, `{service="p"`) {
				t.Errorf("%q", line)
			}
		}
		if strings.Count(b.String(), "\n") > strings.Count(text, "\n")+1 {
			t.Error("more lines than before")
		}
	})
}

func TestAccess(t *testing.T) {
	t.Parallel()
	own := uint32(os.Geteuid())
	tests := []struct {
		name        string
		p           peer
		read, write bool
	}{
		{"nobody known", peer{read: 7}, false, false},
		{"root", peer{known: true, uid: 0, read: -1}, true, true},
		{"owner", peer{known: true, uid: own, read: -1}, true, true},
		{"stranger", peer{known: true, uid: own + 1, gid: 5, groups: []uint32{6}, read: 7}, false, false},
		{"primary group", peer{known: true, uid: own + 1, gid: 7, read: 7}, true, false},
		{"supplementary group", peer{known: true, uid: own + 1, gid: 5, groups: []uint32{6, 7}, read: 7}, true, false},
		{"no such group", peer{known: true, uid: own + 1, gid: 5, read: -1}, false, false},
	}
	for _, tt := range tests {
		if readAccess(tt.p) != tt.read || writeAccess(tt.p) != tt.write {
			t.Errorf("%s: read %v, write %v", tt.name, readAccess(tt.p), writeAccess(tt.p))
		}
	}
	for _, r := range routes() {
		if r.access == nil || r.method == http.MethodPost && r.access(peer{known: true, uid: own + 1, gid: 7, read: 7}) {
			t.Errorf("%s %s may be called by readers", r.method, r.path)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	base, err := os.MkdirTemp("", "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := filepath.Join(base, "run")
	first, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !Owned(dir) {
		t.Error("not owned")
	}
	var running *RunningError
	if _, err := acquire(dir); !errors.As(err, &running) || running.PID != os.Getpid() || running.Dir != dir {
		t.Errorf("%v", err)
	}
	first.release()
	if Owned(dir) {
		t.Error("owned after release")
	}
	second, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	second.release()
	if _, err := acquire(filepath.Join(base, strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "bytes at most") {
		t.Errorf("%v", err)
	}
	os.Chmod(dir, 0o777)
	if _, err := acquire(dir); err == nil || !strings.Contains(err.Error(), "everybody may write") {
		t.Errorf("%v", err)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	l := newEventLog()
	for range keptEvents + 5 {
		l.emit(api.Event{Kind: "state", Service: "old", To: "ready"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n := 0
	l.follow(ctx, true, func(e api.Event) error {
		if n++; n == keptEvents {
			l.emit(api.Event{Kind: "state", Service: "new", To: "ready"})
		}
		if e.Service == "new" {
			return errors.New("enough")
		}
		return nil
	})
	if n != keptEvents+1 || ctx.Err() != nil {
		t.Errorf("%d events", n)
	}
	if c := l.tally()[[3]string{"state", "old", "ready"}]; c != keptEvents+5 {
		t.Errorf("counted %d", c)
	}
}

// TestSlowFollowerIsToldOfTheGap: emit never waits, and what a follower missed is one event that says how many.
func TestSlowFollowerIsToldOfTheGap(t *testing.T) {
	t.Parallel()
	l := newEventLog()
	l.emit(api.Event{})
	var got []api.Event
	l.follow(context.Background(), true, func(e api.Event) error {
		if got = append(got, e); len(got) == 1 { // slow: meanwhile more happens than is remembered
			for range keptEvents + 7 {
				l.emit(api.Event{})
			}
		}
		if e.Seq == keptEvents+8 {
			return errors.New("enough")
		}
		return nil
	})
	if len(got) != 1+1+keptEvents || got[1].Kind != "gap" || got[1].Seq != 8 || !strings.Contains(got[1].Reason, ": 7") {
		t.Fatalf("%d events, the second is %+v", len(got), got[1])
	}
	for i, e := range got[2:] {
		if e.Kind == "gap" || e.Seq != uint64(9+i) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
}

// TestEventNumbersGoOnAfterUpgrade: also when the program before did not number its events.
func TestEventNumbersGoOnAfterUpgrade(t *testing.T) {
	t.Parallel()
	for _, was := range [][]api.Event{{{Seq: 41}, {Seq: 42}}, {{}, {}}} {
		l := newEventLog()
		l.restore(was, nil)
		l.emit(api.Event{})
		recent, _ := l.save()
		if want := max(was[1].Seq, 2) + 1; len(recent) != 3 || recent[2].Seq != want || recent[1].Seq != want-1 || recent[0].Seq != want-2 {
			t.Errorf("%+v", recent)
		}
	}
}

func TestSignalNumber(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"": 15, "TERM": 15, "sigint": 2, "SIGUSR2": 12} {
		if sig, err := signalNumber(name); err != nil || int(sig) != want {
			t.Errorf("%q: %v %v", name, sig, err)
		}
	}
	if _, err := signalNumber("NOPE"); err == nil {
		t.Error("accepted")
	}
}
