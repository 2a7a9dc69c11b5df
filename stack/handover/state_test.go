package handover

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

func sample() *State {
	return &State{
		Format: Format, Program: "1.2.3", PID: 4711, BootID: BootID(), Args: []string{"sentinel-stack", "up"}, Config: "/etc/sentinel/sentinel.kdl", RuntimeDir: "/run/sentinel",
		Began: time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC), Generation: 3, Bundle: "/run/sentinel/generations/x.json", Hash: "x", Digest: []byte{1, 2, 3},
		Services: []supervise.Saved{{Name: "proxy", Machine: supervise.SavedMachine{State: supervise.Ready, Current: 7, Cause: map[int]string{3: "why"}}, NotifyFD: 9,
			Instances: []supervise.SavedInstance{{ID: 7, PID: 4712, StartTime: 1 << 40}}}},
		Sockets: []sockets.Saved{{Spec: sockets.Spec{Name: "web", Network: "tcp", Address: "127.0.0.1:0"}, Bound: "127.0.0.1:4000", FD: 5}},
		Rings:   map[string]logs.SavedRing{"proxy": {Lines: []api.LogLine{{Service: "proxy", Text: "line"}}, Order: []uint64{1}, Total: 1}},
		Pipes:   []logs.SavedPipe{{Service: "proxy", Stream: "stdout", FD: 6, Partial: []byte("half\xff")}},
		Counts:  []Count{{Key: [3]string{"state", "proxy", "ready"}, N: 2}}, Lock: 3, Control: 4, Metrics: -1,
	}
}

func TestRoundTrip(t *testing.T) {
	s := sample()
	f, err := s.MemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := readState(int(f.Fd()))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%v\n%+v\n%+v", err, got, s)
	}
	if again, err := readState(int(f.Fd())); err != nil || !reflect.DeepEqual(again, s) { // for the older program
		t.Errorf("read again: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the memory file can be changed")
	}
	if fds := got.Descriptors(); !reflect.DeepEqual(fds, []int{3, 4, 9, 5, 6}) {
		t.Errorf("descriptors %v", fds)
	}
	if pids := got.PIDs(); !reflect.DeepEqual(pids, []int{4712}) {
		t.Errorf("pids %v", pids)
	}
	s.RuntimeDir = t.TempDir()
	if err := s.WriteFile(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(File(s.RuntimeDir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.RuntimeDir, "*.new")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDecodeRefuses(t *testing.T) {
	raw, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	for what, text := range map[string]string{
		"nothing": "", "no JSON": "x", "torn": good[:len(good)-5], "another format": strings.Replace(good, `"format":1`, `"format":2`, 1),
		"an unknown field": strings.Replace(good, `"pid":4711`, `"pid":4711,"more":1`, 1), "no services": strings.Replace(good, `"services":[`, `"services":[],"events":[`, 1),
		"no bundle": strings.Replace(good, `"bundle":"/run/sentinel/generations/x.json"`, `"bundle":""`, 1),
	} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := Decode(raw); err != nil {
		t.Error(err)
	}
}

// FuzzDecode: whatever is in the state file, it is refused or whole.
func FuzzDecode(f *testing.F) {
	raw, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":1,"services":[{}],"bundle":"x","runtime_dir":"y"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Decode(raw)
		if err != nil {
			return
		}
		if s.Format != Format || s.Bundle == "" || len(s.Services) == 0 {
			t.Errorf("%+v", s)
		}
		s.Descriptors()
		s.PIDs()
	})
}

func TestTake(t *testing.T) {
	f, err := sample().MemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name, value, _ := strings.Cut(variable(int(f.Fd()), 99), "=")
	t.Setenv(name, value)
	t.Setenv(failedVar, "no reason")
	in, err := Take()
	if err != nil || in == nil || in.Failed != "no reason" || in.State.PID != 4711 {
		t.Fatalf("%+v %v", in, err)
	}
	if os.Getenv(name) != "" || os.Getenv(failedVar) != "" {
		t.Error("services would see the variables")
	}
	if in, err := Take(); in != nil || err != nil {
		t.Errorf("a second time: %+v %v", in, err)
	}
	t.Setenv(name, "x")
	if _, err := Take(); err == nil {
		t.Error("nonsense is accepted")
	}
}
