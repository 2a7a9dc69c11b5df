package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStopDeadline: who does not end when asked, and who cannot because he is stopped, is killed when the time is over: timeout-secs, then two seconds for the stacks that SIGQUIT asks for.
func TestStopDeadline(t *testing.T) {
	if !timed() {
		t.Parallel()
	}
	const deadline = time.Second + 2*time.Second
	s := newStack(t, plain+`stack {
    service "deaf" { command "/bin/sh" "-c" "trap '' TERM QUIT; echo > DIR/deaf; while :; do sleep 0.05; done"; stop { timeout-secs 1 } }
    service "frozen" { command "/bin/sleep" "100000"; stop { timeout-secs 1 } }
}
`)
	s.up()
	eventually(t, "it is deaf", func() bool { _, err := os.Stat(filepath.Join(s.dir, "deaf")); return err == nil })
	if err := unix.Kill(s.service("frozen").PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deaf", "frozen"} {
		stop := s.command("stop", name)
		began := time.Now()
		if err := stop.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is shown as stopping", func() bool { return s.service(name).State == "stopping" })
		if err := stop.Wait(); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
		took := time.Since(began)
		t.Logf("%s: killed after %v, %v were allowed", name, took, deadline)
		if took < deadline || took > deadline+15*time.Second || timed() && took > deadline+100*time.Millisecond {
			t.Error("too early, or too late")
		}
		if v := s.service(name); v.State != "stopped" || v.PID != 0 {
			t.Errorf("%s is %s", name, v.State)
		}
	}
}

// TestPoorSurroundings: a runtime directory that nobody can write to is said, and few descriptors are enough for a small stack, or are said.
func TestPoorSurroundings(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, guarded)
	for _, up := range [][]string{{"up", "-d"}, {"up"}} {
		args := append([]string{"--config", s.file, "--runtime-dir", filepath.Join(disk, "run")}, up...)
		out, err := exec.Command(filepath.Join(bin, "sentinel-stack"), args...).CombinedOutput()
		if code := err.(*exec.ExitError).ExitCode(); code != 1 || !strings.Contains(string(out), "read-only file system") || !strings.Contains(string(out), disk) {
			t.Errorf("%v: exit %d\n%s", up, code, out)
		}
	}
	limited := func(n, args string) (int, string) {
		cmd := s.command("up", "-d")
		shell := exec.Command("/bin/sh", "-c", "ulimit -n "+n+"; exec \"$0\" \"$@\" "+args)
		shell.Args = append(shell.Args, cmd.Args...)
		shell.Env, shell.Dir = cmd.Env, cmd.Dir
		out, _ := shell.CombinedOutput()
		return shell.ProcessState.ExitCode(), string(out)
	}
	if code, out := limited("64", ""); code != 0 {
		t.Errorf("64 descriptors: exit %d\n%s", code, out)
	} else {
		if code, _, err := s.get("/"); code != 200 || err != nil {
			t.Errorf("%d %v", code, err)
		}
		s.must(0, "down")
	}
	if code, out := limited("12", ""); code == 0 || !strings.Contains(out, "too many open files") {
		t.Errorf("12 descriptors: exit %d\n%s", code, out)
	}
}
