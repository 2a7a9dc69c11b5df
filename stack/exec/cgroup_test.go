package exec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStartInCgroup places a service in a cgroup in both ways: by the kernel at the fork, and by the shim where clone3 is refused.
func TestStartInCgroup(t *testing.T) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	root := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			root = f[1]
		}
	}
	for _, joins := range []bool{false, true} {
		dir := filepath.Join(root, "sentinel-exec-test-"+strconv.Itoa(os.Getpid())+strconv.FormatBool(joins))
		if root == "" || os.Mkdir(dir, 0o755) != nil {
			t.Skip("no writable cgroup v2 hierarchy")
		}
		defer os.Remove(dir)
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		l := NewLauncher()
		defer l.Close()
		l.joins.Store(joins)
		p, err := Prepare(command("sleep"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		proc, _, err := l.Start(p, Output{Stdin: 0, Stdout: 1, Stderr: 2}, fd)
		if err != nil {
			t.Fatal(err)
		}
		in, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		proc.Kill()
		proc.Wait()
		proc.Reap()
		if err != nil || strings.TrimSpace(string(in)) != strconv.Itoa(proc.PID()) {
			t.Errorf("joins %v: processes %q, want %d (%v)", joins, in, proc.PID(), err)
		}
	}
}
