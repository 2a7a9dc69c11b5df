// Package handover is what one supervisor leaves to the next: its state as one JSON document and its descriptors.
//
// There are two ways. A supervisor that replaces its own program (upgrade) writes the document into a sealed memory file and keeps the descriptors open over execve; the
// process stays, so its children do. A supervisor that may die any time while its services are to live on (keep) writes the document into its runtime directory whenever
// something changes; the descriptors come back from elsewhere.
package handover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// Format is the version of State. A program that reads another one refuses to take over.
const Format = 1

// State is everything about a supervisor that its successor cannot find out.
type State struct {
	Format     int           `json:"format"`
	Program    string        `json:"program"` // version
	PID        int           `json:"pid"`
	WrittenAt  time.Duration `json:"written_at"` // since boot
	BootID     string        `json:"boot_id"`
	Args       []string      `json:"args"`
	Config     string        `json:"config"`
	RuntimeDir string        `json:"runtime_dir"`
	ProgramDir string        `json:"program_dir"`
	Detached   bool          `json:"detached,omitempty"`

	Began      time.Time         `json:"began"`
	Generation uint64            `json:"generation"`
	LastReload *api.ReloadResult `json:"last_reload,omitempty"`
	Bundle     string            `json:"bundle"`
	Hash       string            `json:"hash"`
	Watched    []string          `json:"watched,omitempty"`
	Globs      []string          `json:"globs,omitempty"`
	Digest     []byte            `json:"digest,omitempty"` // of the watched files

	Services   []supervise.Saved `json:"services"`
	Retiring   []Retiring        `json:"retiring,omitempty"`
	Sockets    []sockets.Saved   `json:"sockets"`
	ForestRoot string            `json:"forest_root,omitempty"`
	ForestWhy  string            `json:"forest_why,omitempty"`
	Limits     limits.Saved      `json:"limits"`

	Events  []api.Event               `json:"events,omitempty"`
	Counts  []Count                   `json:"counts,omitempty"`
	Rings   map[string]logs.SavedRing `json:"rings,omitempty"`
	Pipes   []logs.SavedPipe          `json:"pipes,omitempty"`
	Started bool                      `json:"started"` // everything has been started once

	Lock    int `json:"lock"` // descriptors, -1 = none
	Control int `json:"control"`
	Metrics int `json:"metrics"`

	Upgrade *api.Upgrade `json:"upgrade,omitempty"` // the one under way, or the last
}

// Retiring is a service that is no longer in the configuration and still runs.
type Retiring struct {
	Service  plan.Service `json:"service"`
	Replaced bool         `json:"replaced"` // it waits for the old proxy to drain
}

// Count is how many events of a kind there were.
type Count struct {
	Key [3]string `json:"key"` // kind, service, to
	N   uint64    `json:"n"`
}

// Descriptors lists all that the state names.
func (s *State) Descriptors() []int {
	var fds []int
	add := func(fd int) {
		if fd >= 0 {
			fds = append(fds, fd)
		}
	}
	add(s.Lock)
	add(s.Control)
	add(s.Metrics)
	for _, v := range s.Services {
		add(v.NotifyFD)
	}
	for _, v := range s.Sockets {
		add(v.FD)
	}
	for _, v := range s.Pipes {
		add(v.FD)
	}
	return fds
}

// PIDs are the processes of all services.
func (s *State) PIDs() []int {
	var pids []int
	for i := range s.Services {
		pids = append(pids, s.Services[i].PIDs()...)
	}
	return pids
}

// maxState bounds what is read: the lines in memory of a hundred services, escaped.
const maxState = 512 << 20

// Decode reads a state and refuses one of another format.
func Decode(raw []byte) (*State, error) {
	var head struct{ Format int }
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("cannot read the state: %v", err)
	}
	if head.Format != Format {
		return nil, fmt.Errorf("cannot take over: the state has format %d, this program reads %d", head.Format, Format)
	}
	var s State
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("cannot read the state: %v", err)
	}
	if s.Bundle == "" || s.RuntimeDir == "" || len(s.Services) == 0 {
		return nil, fmt.Errorf("cannot read the state: it is incomplete")
	}
	return &s, nil
}

// BootID tells one boot of the machine from another.
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id))
}

// MemoryFile encodes the state into a memory file that nobody can change any more.
func (s *State) MemoryFile() (*os.File, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the state: %v", err)
	}
	fd, err := unix.MemfdCreate("sentinel-stack-state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make memory file: %v", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if _, err = f.Write(raw); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write memory file: %v", err)
	}
	return f, nil
}

// File is where a supervisor whose services survive it keeps its state.
func File(runtimeDir string) string { return filepath.Join(runtimeDir, "state.json") }

// WriteFile replaces the file in one step, so that a reader sees an old or a new state and never a part.
func (s *State) WriteFile() error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode the state: %v", err)
	}
	path := File(s.RuntimeDir)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("cannot write the state: %v", err)
	}
	return os.Rename(path+".new", path)
}
