package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// reuse is the first process of a process namespace in which it may say which number the next process gets. It runs a stack, has services end in every way, and gives the number of each to a stranger at once. It prints
// what became of them.
func reuse(dir, bin string) {
	fail := func(format string, args ...any) {
		fmt.Printf("failed: "+format+"\n", args...)
		os.Exit(1)
	}
	stack := exec.Command(filepath.Join(bin, "sentinel-stack"), "--config", filepath.Join(dir, "sentinel.kdl"), "--runtime-dir", filepath.Join(dir, "run"), "up")
	stack.Env = append(os.Environ(), childVar+"=")
	log, err := os.Create(filepath.Join(dir, "stack.log"))
	if err != nil {
		fail("%v", err)
	}
	stack.Stdout, stack.Stderr = log, log
	if err := stack.Start(); err != nil {
		fail("%v", err)
	}
	client := api.NewClient(filepath.Join(dir, "run", "control.sock"))
	ctx := context.Background()
	service := func(name string) (v api.Service) {
		list, _ := client.Services(ctx)
		for _, s := range list {
			if s.Name == name {
				v = s
			}
		}
		return v
	}
	wait := func(what string, ok func() bool) {
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				text, _ := os.ReadFile(filepath.Join(dir, "stack.log"))
				fail("never: %s\n%s", what, text)
			}
		}
	}
	wait("the stack is ready", func() bool { return service("proxy").State == "ready" })
	var strangers []*exec.Cmd
	reused := 0
	for i := range 24 {
		name := []string{"plain", "group", "deaf"}[i%3]
		wait(name+" runs", func() bool { return service(name).State == "ready" })
		victim := service(name).PID
		done := make(chan struct{})
		go func() {
			defer close(done)
			switch i % 2 {
			case 0:
				_, _ = client.Stop(ctx, name)
				_, _ = client.Start(ctx, name)
			default:
				_ = syscall.Kill(victim, syscall.SIGKILL) // it crashes, and is started again
			}
		}()
		// The next instance may have got the number itself: then there is none to take.
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if syscall.Kill(victim, 0) != syscall.ESRCH {
				continue
			}
			if stranger := takeNumber(victim); stranger != nil {
				strangers = append(strangers, stranger)
				reused++
			}
			break
		}
		<-done
	}
	_ = stack.Process.Signal(syscall.SIGTERM)
	_ = stack.Wait()
	killed := 0
	for _, s := range strangers {
		if syscall.Kill(s.Process.Pid, 0) != nil || state(s.Process.Pid) == "Z" {
			killed++
		}
	}
	// The twin: who is signalled is found.
	if len(strangers) > 0 {
		_ = strangers[0].Process.Signal(syscall.SIGTERM)
		wait("a signalled stranger is found", func() bool { return state(strangers[0].Process.Pid) == "Z" })
	}
	fmt.Printf("reused %d killed %d\n", reused, killed)
	os.Exit(0)
}

func state(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(text), ") ")
	return strings.Fields(after + " ?")[0]
}

// takeNumber starts a stranger with this number, nil = somebody else was faster.
func takeNumber(pid int) *exec.Cmd {
	if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0) != nil {
		return nil
	}
	c := exec.Command("/bin/sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the leader of a group of this number
	if c.Start() != nil || c.Process.Pid != pid {
		if c.Process != nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		return nil
	}
	return c
}

// TestStrangersWithTheSameNumber: the number of a service that has ended is somebody else's at once, also as that of a group; nobody else is ever signalled.
func TestStrangersWithTheSameNumber(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, plain+`stack {
    service "plain" { command "/bin/sleep" "100000"; restart { reset-after-secs 0 } }
    service "group" { command "/bin/sh" "-c" "sleep 100000 & sleep 100000 & wait"; restart { reset-after-secs 0 } }
    service "deaf" { command "/bin/sh" "-c" "trap '' TERM; while :; do sleep 0.01; done"; stop { timeout-secs 1 }; restart { reset-after-secs 0 } }
}
`)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", self)
	cmd.Env = append(os.Environ(), childVar+"=reuse:"+s.dir+":"+bin, "E2E_STACK="+s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
			t.Skipf("no process namespace can be made here: %v %s", err, out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	var reused, killed int
	if _, err := fmt.Sscanf(string(out), "reused %d killed %d", &reused, &killed); err != nil || reused < 5 || killed > 0 {
		t.Errorf("%s (%v)", out, err)
	}
	t.Logf("%s", out)
}
