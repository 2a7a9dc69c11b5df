package exec

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// TestRlimits: the service sees the limits it was given, soft and hard, and one that cannot be set is named.
func TestRlimits(t *testing.T) {
	t.Parallel()
	l := NewLauncher()
	defer l.Close()
	c := command("rlimits")
	c.Limits = []shim.Limit{{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 77}, {Name: "core", Resource: unix.RLIMIT_CORE, Value: 1 << 33}}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err != nil {
		t.Fatal(err)
	}
	want := "Max core file size 8589934592 8589934592"
	if own.Max < 1<<33 {
		c.Limits[1].Value, want = 0, "Max core file size 0 0"
	}
	p, err := start(t, l, c)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, p)
	raw, _ := io.ReadAll(p.out)
	out := strings.Join(strings.Fields(string(raw)), " ")
	for _, line := range []string{"Max open files 77 77 files", want} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in %s", line, raw)
		}
	}
	c.Limits = []shim.Limit{{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 1 << 62}} // above fs.nr_open, for root too
	_, err = start(t, l, c)
	var e *Error
	if !errors.As(err, &e) || e.Stage != "rlimit nofile" || e.Errno != unix.EPERM || !e.Permanent() {
		t.Errorf("a limit that cannot be set: %v", err)
	}
}
