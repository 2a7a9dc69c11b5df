package limits

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childVar makes the test program a supervisor that was started in a cgroup of its own; the value names the controller it is to hand down.
const childVar = "LIMITS_TEST_CHILD"

func TestMain(m *testing.M) {
	if controller := os.Getenv(childVar); controller != "" {
		supervisor(controller)
		return
	}
	os.Exit(m.Run())
}

// supervisor hands the controller down and reports what became of it.
func supervisor(controller string) {
	base := os.Getenv("LIMITS_TEST_BASE")
	root := filepath.Join(base, "sentinel-x")
	if err := os.Mkdir(root, 0o755); err != nil {
		panic(err)
	}
	own := func() string {
		text, _ := os.ReadFile("/proc/self/cgroup")
		_, path, _ := strings.Cut(string(text), "0::")
		return filepath.Base(strings.TrimSpace(path))
	}
	h := Open(root, "x")
	fmt.Printf("why=%q handed=%v in=%s\n", h.useV2(controller), h.has(root, "cgroup.controllers", controller), own())
	h.Close()
	left, _ := filepath.Glob(base + "/sentinel-x-*")
	fmt.Printf("left=%d in=%s\n", len(left), own())
	os.Remove(root)
}

// version2 finds a writable hierarchy of version 2 and one of its controllers.
func version2(t *testing.T) (mount, controller string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			mount = f[1]
		}
	}
	list, _ := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
	f := strings.Fields(string(list))
	if mount == "" || len(f) == 0 {
		t.Skip("no cgroup v2 hierarchy with controllers")
	}
	return mount, f[len(f)-1]
}

// TestDelegation runs a supervisor in a group of its own, as systemd does with Delegate=yes: it steps aside so that its services can have controllers,
// and puts everything back. With a stranger in the group it leaves things alone and says so.
func TestDelegation(t *testing.T) {
	mount, controller := version2(t)
	handed, _ := os.ReadFile(filepath.Join(mount, "cgroup.subtree_control"))
	if !strings.Contains(" "+string(handed), controller) {
		if err := write(filepath.Join(mount, "cgroup.subtree_control"), "+"+controller); err != nil {
			t.Skipf("the controllers of cgroup v2 cannot be handed down: %v", err)
		}
		defer write(filepath.Join(mount, "cgroup.subtree_control"), "-"+controller)
	}
	for stranger, want := range map[bool]string{
		false: "why=\"\" handed=true in=sentinel-x-supervisor\nleft=0 in=BASE\n",
		true:  "why=\"other processes than the supervisor are in its group DIR\" handed=false in=BASE\nleft=0 in=BASE\n",
	} {
		base := filepath.Join(mount, "limits-test-"+strconv.Itoa(os.Getpid())+strconv.FormatBool(stranger))
		if err := os.Mkdir(base, 0o755); err != nil {
			t.Skipf("no group can be made: %v", err)
		}
		defer os.Remove(base)
		dir, err := os.Open(base)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		in := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		if stranger {
			other := exec.Command("/bin/sleep", "1000")
			other.SysProcAttr = in
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { other.Process.Kill(); other.Wait(); os.Remove(base) }()
		}
		cmd := exec.Command(os.Args[0])
		cmd.SysProcAttr = in
		cmd.Env = append(os.Environ(), childVar+"="+controller, "LIMITS_TEST_BASE="+base)
		out, err := cmd.CombinedOutput()
		if want := strings.NewReplacer("BASE", filepath.Base(base), "DIR", base).Replace(want); err != nil || string(out) != want {
			t.Errorf("stranger %v: %v\n%swant\n%s", stranger, err, out, want)
		}
	}
}
