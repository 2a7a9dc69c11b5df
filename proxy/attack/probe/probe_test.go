package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/attack"
)

var files = filepath.Join("..", "..", "testdata", "attack")

// TestProbe runs what needs nginx, HAProxy and half a minute only when it is asked for: PROBE names the sentinel program, PROBE_ONLY the proxies,
// and PROBE_DIFFER=1 leaves out the turns in which all did the same.
func TestProbe(t *testing.T) {
	program := os.Getenv("PROBE")
	if program == "" {
		t.Skip("PROBE is not set: make probe")
	}
	only := os.Getenv("PROBE_ONLY")
	if only == "" {
		only = "sentinel,nginx,haproxy"
	}
	missed, err := run(options{sentinel: program, files: files, only: strings.Split(only, ","), shards: 12, quiet: 400 * time.Millisecond, differ: os.Getenv("PROBE_DIFFER") != ""})
	if err != nil {
		t.Fatal(err)
	}
	if missed > 0 {
		t.Errorf("sentinel did something else than the suite expects in %d turns", missed)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		statuses []int
		state    string
		seen     attack.Seen
		text     string
		class    string
	}{
		{[]int{400}, "closed", attack.Seen{Requests: []string{"GET /witness"}}, "400 closed", refused},
		{[]int{200}, "open", attack.Seen{Requests: []string{"GET /", "GET /after", "GET /witness"}}, "200 open, forwarded 1", forwarded},
		{[]int{200, 200}, "open", attack.Seen{Requests: []string{"GET /", "GET /smuggled", "GET /witness"}}, "200 200 open, forwarded 2", split},
		{nil, "waits", attack.Seen{}, "waits", waiting},
		{[]int{502}, "open", attack.Seen{Garbage: []string{"x"}}, "502 open, malformed forwarded", malformed},
	} {
		if o := describe(c.statuses, c.state, true, c.seen, true); o.text != c.text || o.class != c.class {
			t.Errorf("%v %s %v: %q, %q", c.statuses, c.state, c.seen, o.text, o.class)
		}
	}
	if o := describe([]int{400}, "closed", false, attack.Seen{}, false); !strings.Contains(o.text, "harmed") {
		t.Errorf("a harmed witness is told as %q", o.text)
	}
}

func TestLoadTurns(t *testing.T) {
	t.Parallel()
	turns, err := loadTurns(options{files: files, only: []string{"sentinel"}})
	if err != nil || len(turns) < fewest {
		t.Fatalf("%d turns, %v", len(turns), err)
	}
	dir := t.TempDir()
	for _, name := range []string{"request-a.txt", "answer-a.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("case a\nattack\n    a\nexpect 400 closed\ntwin\n    b\nexpect 200 open\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := loadTurns(options{files: dir}); err == nil {
		t.Error("a suite of four turns is enough")
	}
}
