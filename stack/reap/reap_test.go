package reap

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func children() string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	return strings.TrimSpace(string(b))
}

// These tests share the process's children, so they do not run in parallel.

func TestOrphansAreCollectedAndOwnedChildrenAreNot(t *testing.T) {
	r, err := NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 20 {
		var out bytes.Buffer
		cmd := exec.Command("/bin/sh", "-c", "(sleep 0.01; exit 3) & echo $!; exit 5")
		cmd.Stdout = &out
		err := r.Run(cmd)
		if err == nil || err.Error() != "exit status 5" {
			t.Fatalf("run %d: the status went elsewhere: %v", i, err)
		}
		orphan, _ := strconv.Atoi(strings.TrimSpace(out.String()))
		eventually(t, "the orphan is collected", func() bool { return syscall.Kill(orphan, 0) == syscall.ESRCH })
	}
	if err := r.Run(exec.Command("/no/such/program")); err == nil {
		t.Error("a missing program runs")
	}
}

func TestKillOrphans(t *testing.T) {
	r, err := NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "env -i setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	cmd.Stdout = &out
	if err := r.Run(cmd); err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(out.String()))
	if !alive(pid) {
		t.Fatal("it does not run")
	}
	eventually(t, "it is an orphan", func() bool { return len(r.Orphans()) > 0 })
	if n := r.KillOrphans(); n != 1 || alive(pid) {
		t.Errorf("killed %d, alive %v", n, alive(pid))
	}
	eventually(t, "it is collected", func() bool { return children() == "" })
}

func TestForestKillsLeftoversOfTheSameName(t *testing.T) {
	name := fmt.Sprintf("test-reap-%d", os.Getpid())
	first := OpenForest(name)
	if first.Why() != "" {
		t.Skip("no cgroups: " + first.Why())
	}
	tree, err := first.New("a")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: tree.FD()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tree.Dir(), "nested"), 0o755); err != nil {
		t.Fatal(err)
	}
	second := OpenForest(name) // as after a crash: nobody closed the first
	if second.Why() != "" {
		t.Error(second.Why())
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the leftover ended with %v", err)
	}
	second.Close()
	if _, err := os.Stat(second.Root()); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestKillLeftoversHitsOnlyItsOwn(t *testing.T) {
	start := func(env ...string) *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	mine := start("RT=/run/mine", "SENTINEL_LEADER=1")
	spared := []*exec.Cmd{start("RT=/run/other", "SENTINEL_LEADER=1"), start("RT=/run/mine"), start("RT=/run/mine2", "SENTINEL_LEADER=1")}
	if n := KillLeftovers("RT", "/run/mine"); n != 1 {
		t.Errorf("killed %d", n)
	}
	if err := mine.Wait(); err == nil {
		t.Error("it survived")
	}
	for _, s := range spared {
		if !alive(s.Process.Pid) {
			t.Errorf("killed a stranger: %v", s.Env)
		}
		s.Process.Kill()
		s.Wait()
	}
	eventually(t, "no children are left", func() bool { return children() == "" })
}
