package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tried is a service whose next process ends with status 9 soon after it was started, once the file flag is there.
func tried(t *testing.T) (s *Service, flag string) {
	t.Helper()
	flag = filepath.Join(t.TempDir(), "flag")
	sp := spec("good")
	sp.Command.Path, sp.Command.Args = "/bin/sh", []string{"sh", "-c", "test -e " + flag + " && { sleep 0.2; exit 9; }; : > " + flag + ".passed; exec sleep 600"}
	sp.Ready = Readiness{}
	s = newStage(t, true).service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(ctx(t)) })
	eventually(t, "it has looked for the flag", func() bool { _, err := os.Stat(flag + ".passed"); return err == nil })
	return s, flag
}

func TestCanaryTakesOverAfterItsTrial(t *testing.T) {
	s, _ := tried(t)
	old := s.Snapshot().PID
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.Canary(ctx(t), 300*time.Millisecond) }()
	eventually(t, "the trial is shown", func() bool { return strings.Contains(s.Snapshot().Reason, "on trial") || len(done) > 0 })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("the trial took %v", took)
	}
	if snap := s.Snapshot(); snap.PID == old || snap.PID == 0 || snap.State != string(Ready) {
		t.Errorf("%+v", snap)
	}
	eventually(t, "the old one has gone", func() bool { return !alive(old) })
}

func TestCanaryThatEndsChangesNothing(t *testing.T) {
	s, flag := tried(t)
	old := s.Snapshot().PID
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Canary(ctx(t), time.Minute); err == nil || !strings.Contains(err.Error(), "exit 9") {
		t.Errorf("%v", err)
	}
	if snap := s.Snapshot(); snap.PID != old || snap.State != string(Ready) || !alive(old) {
		t.Errorf("%+v", snap)
	}
	os.Remove(flag)
	if err := s.Restart(ctx(t)); err != nil { // nothing of the trial is left
		t.Error(err)
	}
}

func TestCanaryTakesOverWhenTheOldOneEnds(t *testing.T) {
	s, _ := tried(t)
	old := s.Snapshot().PID
	done := make(chan error, 1)
	go func() { done <- s.Canary(ctx(t), time.Hour) }()
	eventually(t, "on trial", func() bool { return strings.Contains(s.Snapshot().Reason, "on trial") })
	p, err := os.FindProcess(old)
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if snap := s.Snapshot(); snap.PID == old || snap.PID == 0 || snap.State != string(Ready) {
		t.Errorf("%+v", snap)
	}
}

func TestOnlyOneProcessCannotBeTried(t *testing.T) {
	st := newStage(t, true)
	sp := spec("good")
	sp.Overlap = false
	s := st.service(sp)
	if err := s.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	old := s.Snapshot().PID
	if err := s.Canary(ctx(t), time.Second); err == nil || s.Snapshot().PID != old {
		t.Errorf("%v, pid %d, before %d", err, s.Snapshot().PID, old)
	}
	s.Stop(ctx(t))
}
