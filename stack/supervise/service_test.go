package supervise

import (
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// The test program is also the services.
const childVar = "SUPERVISE_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childVar); mode != "" {
		child(mode, os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

func child(mode string, args []string) {
	fmt.Println("pid", os.Getpid())
	switch mode {
	case "good", "watched": // ready, ends on TERM; "watched" stops feeding when told by USR1
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, unix.SIGTERM)
		tell("READY=1\nSTATUS=serving")
		hang := make(chan os.Signal, 1)
		signal.Notify(hang, unix.SIGUSR1)
		for mode == "watched" {
			tell("WATCHDOG=1")
			select {
			case <-hang:
				select {}
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		<-stop
	case "stubborn": // ignores TERM
		signal.Ignore(unix.SIGTERM)
		tell("READY=1")
		select {}
	case "silent": // never ready
		select {}
	case "crash":
		os.Exit(7)
	case "stranger": // another process sends READY in its name
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"=tellonly")
		cmd.Run()
		select {}
	case "tellonly":
		tell("READY=1")
	case "hog": // takes memory when told by USR1, with a cap of its own
		told := make(chan os.Signal, 1)
		signal.Notify(told, unix.SIGUSR1)
		tell("READY=1")
		<-told
		var kept [][]byte
		for range 96 {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			kept = append(kept, b)
		}
		fmt.Println("survived", len(kept))
		select {}
	case "bomb": // forks, half of it into sessions of their own, with a cap of its own
		refused := 0
		for i := range 100 {
			cmd := osexec.Command("/bin/sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: i%2 == 0}
			if cmd.Start() != nil {
				refused++
			}
		}
		fmt.Println("refused", refused)
		tell("READY=1")
		select {}
	case "busy": // burns CPU until it is told to end
		tell("READY=1")
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, unix.SIGTERM)
		for len(stop) == 0 {
		}
	case "tree": // leaves descendants in every way there is
		spawn := func(setsid bool) {
			cmd := osexec.Command("/bin/sh", "-c", "sleep 1000 & exec sleep 1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
			cmd.Start()
			fmt.Println("spawned", cmd.Process.Pid)
		}
		spawn(false)
		spawn(true)
		cmd := osexec.Command("/bin/sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' &") // parents end at once: orphans
		cmd.Run()
		tell("READY=1")
		select {}
	}
}

func tell(msg string) {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	c.Write([]byte(msg))
	c.Close()
}

// stage is what a test's services share.
type stage struct {
	t      *testing.T
	deps   Deps
	mu     sync.Mutex
	events []api.Event
}

func newStage(t *testing.T, cgroups bool) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{t: t}
	null, err := OpenNull()
	if err != nil {
		t.Fatal(err)
	}
	store, err := logs.NewStore(logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reaper, err := reap.NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	forest := &reap.Forest{}
	if cgroups {
		if forest = reap.OpenForest("test-" + filepath.Base(dir)); forest.Why() != "" {
			t.Logf("no cgroups: %s", forest.Why())
		}
	}
	host := limits.Open(forest.Root(), "test-"+filepath.Base(dir))
	st.deps = Deps{
		Launcher: exec.NewLauncher(), Reaper: reaper, Forest: forest, Limits: host, Logs: store, Null: int(null.Fd()), NotifyDir: dir,
		OnEvent: func(e api.Event) { st.mu.Lock(); st.events = append(st.events, e); st.mu.Unlock() },
		Note:    func(level, text string) { t.Log(level, text) },
	}
	t.Cleanup(func() {
		store.Close()
		st.deps.Launcher.Close()
		if n := reaper.KillOrphans(); n > 0 {
			t.Errorf("%d orphans at the end", n)
		}
		reaper.Close()
		host.Close()
		forest.Close()
		null.Close()
		os.RemoveAll(dir)
	})
	return st
}

func spec(mode string) Spec {
	exe, _ := os.Executable()
	return Spec{
		Command: exec.Command{Name: mode, Path: exe, Args: []string{mode}, Env: []string{childVar + "=" + mode, "PATH=" + os.Getenv("PATH")}},
		Policy:  testPolicy, Stop: Stop{Timeout: 5 * time.Second}, Ready: Readiness{Notify: true, Timeout: 10 * time.Second}, Overlap: true,
	}
}

// logged waits for a line: a pipe may be read to its end only after the process that wrote to it is gone.
func (st *stage) logged(pattern string) {
	st.t.Helper()
	f, err := logs.NewFilter(api.LogQuery{Grep: pattern})
	if err != nil {
		st.t.Fatal(err)
	}
	eventually(st.t, "a line like "+pattern+" in the log", func() bool { return len(st.deps.Logs.Query(f, -1)) > 0 })
}

func (st *stage) service(sp Spec) *Service {
	st.t.Helper()
	s, err := New(sp.Command.Name, "service", sp, st.deps)
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(s.Close)
	return s
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after != "" && after[0] != 'Z' && after[0] != 'X'
}

func TestLife(t *testing.T) {
	st := newStage(t, true)
	s := st.service(spec("good"))
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	snap := s.Snapshot()
	if snap.State != "ready" || !alive(snap.PID) {
		t.Errorf("%+v", snap)
	}
	if err := s.Start(ctx(t)); err != nil || s.Snapshot().PID != snap.PID {
		t.Errorf("starting again: %v", err)
	}
	if err := s.Stop(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if after := s.Snapshot(); after.State != "stopped" || alive(snap.PID) || after.LastExit != "exit 0" || after.Restarts != 0 {
		t.Errorf("%+v", after)
	}
	var path []string
	st.mu.Lock()
	for _, e := range st.events {
		path = append(path, e.To)
	}
	st.mu.Unlock()
	if got := strings.Join(path, " "); got != "starting ready stopping stopped" {
		t.Errorf("events %s", got)
	}
}

// TestKilledServiceIsBackAtOnce: after a healthy life nothing is waited for. How long that takes is measured by the reliability suite.
func TestKilledServiceIsBackAtOnce(t *testing.T) {
	st := newStage(t, true)
	sp := spec("good")
	sp.Policy.ResetAfter = 0 // every ready life is healthy
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	const kills = 20
	for i := range kills {
		pid := s.Snapshot().PID
		syscall.Kill(pid, syscall.SIGKILL)
		eventually(t, "a new instance is ready", func() bool {
			n := s.Snapshot()
			return n.State == "ready" && n.PID != pid && n.Restarts == uint64(i+1)
		})
	}
	snap := s.Snapshot()
	t.Logf("exit to exec p50 %d us, exec to ready p50 %d us", snap.RestartP50Micros, snap.ReadyP50Micros)
	if snap.RestartP50Micros <= 0 || snap.LastExit != "signal KILL" {
		t.Errorf("%+v", snap)
	}
	st.mu.Lock()
	for _, e := range st.events {
		if e.To == string(Backoff) {
			t.Errorf("it was waited for a restart: %+v", e)
		}
	}
	st.mu.Unlock()
	s.Stop(ctx(t))
}

func TestCrashLoopBacksOffAndIsReported(t *testing.T) {
	st := newStage(t, true)
	sp := spec("crash")
	sp.Policy.QuarantineAfter, sp.Policy.BaseDelay, sp.Policy.MaxDelay = 3, 20*time.Millisecond, 100*time.Second
	s := st.service(sp)
	if err := s.Start(ctx(t)); err == nil || !strings.Contains(err.Error(), "exit 7") {
		t.Errorf("start: %v", err)
	}
	eventually(t, "it is quarantined", func() bool { return s.Snapshot().State == "quarantined" })
	if snap := s.Snapshot(); snap.Restarts != 3 || snap.NextStart.Before(time.Now().Add(60*time.Second)) {
		t.Errorf("%+v", snap)
	}
	if err := s.Stop(ctx(t)); err != nil {
		t.Error(err)
	}
}

func TestMissingProgramFailsAndReplaceRepairs(t *testing.T) {
	st := newStage(t, true)
	sp := spec("good")
	good := sp
	sp.Command.Path = "/no/such/program"
	s := st.service(sp)
	if err := s.Start(ctx(t)); err == nil || s.Snapshot().State != "failed" {
		t.Errorf("%v %+v", err, s.Snapshot())
	}
	if err := s.Replace(ctx(t), good); err != nil || s.Snapshot().State != "ready" {
		t.Errorf("%v %+v", err, s.Snapshot())
	}
	s.Stop(ctx(t))
}

func TestNotReadyInTimeIsKilled(t *testing.T) {
	st := newStage(t, true)
	sp := spec("silent")
	sp.Ready.Timeout, sp.Policy.InitialDelay = 50*time.Millisecond, time.Minute
	s := st.service(sp)
	if err := s.Start(ctx(t)); err == nil || !strings.Contains(err.Error(), "not ready within 50ms") {
		t.Errorf("start: %v", err)
	}
	s.Stop(ctx(t))
}

func TestReadyFromAnotherProcessIsNotBelieved(t *testing.T) {
	st := newStage(t, true)
	sp := spec("stranger")
	sp.Ready.Timeout, sp.Policy.InitialDelay = 700*time.Millisecond, time.Minute
	s := st.service(sp)
	if err := s.Start(ctx(t)); err == nil {
		t.Error("it counts as ready")
	}
	s.Stop(ctx(t))
}

func TestStubbornServiceIsDumpedAndKilled(t *testing.T) {
	st := newStage(t, true)
	sp := spec("stubborn")
	sp.Stop.Timeout = 50 * time.Millisecond
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Stop(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < sp.Stop.Timeout || took > sp.Stop.Timeout+dumpGrace+10*time.Second {
		t.Errorf("took %v", took)
	}
	st.logged("^goroutine |SIGQUIT")
}

func TestMissedWatchdogRestartsWithADump(t *testing.T) {
	st := newStage(t, true)
	sp := spec("watched")
	sp.Watchdog, sp.Policy.ResetAfter = 1500*time.Millisecond, 0
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	pid := s.Snapshot().PID
	time.Sleep(2 * sp.Watchdog) // a fed watchdog does not bite
	if s.Snapshot().PID != pid {
		t.Fatal("it was restarted although it fed the watchdog")
	}
	syscall.Kill(pid, unix.SIGUSR1)
	eventually(t, "a new instance is ready", func() bool { n := s.Snapshot(); return n.State == "ready" && n.PID != pid })
	st.logged("SIGQUIT")
	s.Stop(ctx(t))
}

func TestRestartOverlapsAndRollsBack(t *testing.T) {
	st := newStage(t, true)
	s := st.service(spec("good"))
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	first := s.Snapshot().PID
	if err := s.Restart(ctx(t)); err != nil {
		t.Fatal(err)
	}
	second := s.Snapshot().PID
	if second == first || s.Snapshot().State != "ready" {
		t.Errorf("%d %+v", first, s.Snapshot())
	}
	eventually(t, "the old one is gone", func() bool { return !alive(first) })
	for _, mode := range []string{"crash", "silent"} {
		bad := spec(mode)
		bad.Ready.Timeout = 100 * time.Millisecond
		if err := s.Replace(ctx(t), bad); err == nil {
			t.Errorf("%s: replaced", mode)
		}
		if snap := s.Snapshot(); snap.PID != second || snap.State != "ready" {
			t.Errorf("%s: the old one does not serve on: %+v", mode, snap)
		}
	}
	syscall.Kill(second, syscall.SIGKILL) // the spec of the failed replacements is forgotten
	eventually(t, "the old spec runs", func() bool { n := s.Snapshot(); return n.State == "ready" && n.PID != second })
	s.Stop(ctx(t))
}

func TestReplacementWithoutOverlap(t *testing.T) {
	st := newStage(t, true)
	sp := spec("good")
	sp.Overlap = false
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	first := s.Snapshot().PID
	if err := s.Restart(ctx(t)); err != nil || alive(first) {
		t.Errorf("%v, the old one lives: %v", err, alive(first))
	}
	bad := spec("crash")
	bad.Overlap = false
	if err := s.Replace(ctx(t), bad); err == nil || !strings.Contains(err.Error(), "exit 7") {
		t.Errorf("%v", err)
	}
	eventually(t, "the old spec runs again", func() bool { return s.Snapshot().State == "ready" })
	s.Stop(ctx(t))
}

func TestNothingSurvives(t *testing.T) {
	for _, cgroups := range []bool{true, false} {
		for _, end := range []string{"stop", "crash"} {
			t.Run(fmt.Sprintf("cgroups=%v/%s", cgroups, end), func(t *testing.T) {
				st := newStage(t, cgroups)
				sp := spec("tree")
				mark := fmt.Sprintf("TREE_TEST=%d-%s-%v", os.Getpid(), end, cgroups)
				sp.Command.Env = append(sp.Command.Env, mark)
				sp.Policy.Restart = "never"
				s := st.service(sp)
				if err := s.Start(ctx(t)); err != nil {
					t.Fatal(err)
				}
				eventually(t, "all seven processes run", func() bool { return len(marked(mark)) >= 7 })
				if end == "stop" {
					if err := s.Stop(ctx(t)); err != nil {
						t.Fatal(err)
					}
				} else {
					syscall.Kill(s.Snapshot().PID, syscall.SIGKILL)
				}
				if end == "stop" && len(marked(mark)) > 0 {
					t.Errorf("stopped, and alive are %v", marked(mark))
				}
				eventually(t, "all are gone", func() bool { return len(marked(mark)) == 0 })
				eventually(t, "the service is stopped", func() bool { return s.Snapshot().State == "stopped" })
			})
		}
	}
}

// marked lists the living processes with the variable in their environment.
func marked(v string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, _ := os.ReadFile(d + "/environ")
		pid, _ := strconv.Atoi(filepath.Base(d))
		if slices.Contains(strings.Split(string(env), "\x00"), v) && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestNoZombiesAndNoLeftoverCgroups(t *testing.T) {
	st := newStage(t, true)
	sp := spec("good")
	sp.Policy.ResetAfter = 0
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := s.Restart(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(ctx(t))
	eventually(t, "no children are left", func() bool {
		b, _ := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
		return len(strings.TrimSpace(string(b))) == 0
	})
}

// TestRestartsLeakNothing: descriptors, goroutines, threads, zombies and cgroups are as many after a hundred restarts as before, or after as many as RESTARTS says; then memory is looked at, too.
func TestRestartsLeakNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred restarts")
	}
	restarts := 100
	if text := os.Getenv("RESTARTS"); text != "" {
		var err error
		if restarts, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	st := newStage(t, true)
	st.deps.OnEvent = func(api.Event) {} // a list of forty thousand events would be growth
	sp := spec("good")
	sp.Policy.ResetAfter = 0
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	type tally struct{ descriptors, goroutines, groups, children int }
	count := func() tally {
		fds, _ := os.ReadDir("/proc/self/fd")
		groups, _ := os.ReadDir(st.deps.Forest.Root())
		kids, _ := filepath.Glob("/proc/self/task/*/children")
		children := 0
		for _, k := range kids {
			b, _ := os.ReadFile(k)
			children += len(strings.Fields(string(b)))
		}
		return tally{len(fds), runtime.NumGoroutine(), len(groups), children}
	}
	own := func(field string) int { // of /proc/self/status
		text, _ := os.ReadFile("/proc/self/status")
		_, after, _ := strings.Cut(string(text), field+":")
		n, _ := strconv.Atoi(strings.Fields(after + " ?")[0])
		return n
	}
	again := func(i int) {
		pid := s.Snapshot().PID
		if i%4 == 0 {
			if err := s.Restart(ctx(t)); err != nil {
				t.Fatal(err)
			}
		} else {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		eventually(t, "it is ready again", func() bool { n := s.Snapshot(); return n.State == "ready" && n.PID != pid })
	}
	for i := range 5 {
		again(i)
	}
	var before tally
	eventually(t, "the count rests", func() bool {
		b := count()
		same := b == before
		before = b
		time.Sleep(20 * time.Millisecond)
		return same
	})
	for i := range min(restarts, 1000) { // until the runtime has all the threads it will ever want, and pools their size
		again(i)
	}
	debug.FreeOSMemory()
	threads, rss := own("Threads"), own("VmRSS")
	for i := range restarts - min(restarts, 1000) {
		again(i)
	}
	var now tally
	defer func() {
		if t.Failed() {
			t.Logf("before %+v, now %+v", before, now)
		}
	}()
	eventually(t, "nothing is more than before", func() bool { // on a busy machine something may have been on its way out when the first count seemed to rest
		now = count()
		return now.descriptors <= before.descriptors && now.goroutines <= before.goroutines && now.groups <= before.groups && now.children <= before.children
	})
	debug.FreeOSMemory()
	t.Logf("%d restarts: %+v; threads %d -> %d, rss %d -> %d KB", restarts, now, threads, own("Threads"), rss, own("VmRSS"))
	if restarts > 1000 && (own("VmRSS") > rss+2048 || own("Threads") > threads+4) { // the runtime starts a thread now and then when the machine is busy
		t.Error("that is growth")
	}
	s.Stop(ctx(t))
}
