package reap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
)

// Ways of killing a tree, as shown in the status.
const (
	ByCgroup = "cgroup"
	ByGroup  = "process-group"
)

// removeTimeout bounds the wait for killed processes to leave their cgroup.
const removeTimeout = 5 * time.Second

// Forest is the place where the trees of one supervisor live.
type Forest struct {
	root string // cgroup v2 directory of this supervisor, "" = cgroups cannot be used
	why  string // why they cannot
}

// OpenForest finds a writable cgroup v2 hierarchy and makes a directory for the supervisor called name. Where that is impossible the forest works by
// process groups; Why tells the reason. Leftovers of an earlier supervisor of the same name are killed; the caller holds that name's lock.
func OpenForest(name string) *Forest {
	base, err := ownCgroup()
	if err != nil {
		return &Forest{why: err.Error()}
	}
	root := filepath.Join(base, "sentinel-"+name)
	killCgroup(root)
	if err := removeCgroup(root, removeTimeout); err != nil {
		return &Forest{why: err.Error()}
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return &Forest{why: err.Error()}
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.kill")); err != nil { // Linux < 5.14
		os.Remove(root)
		return &Forest{why: "the kernel has no cgroup.kill"}
	}
	return &Forest{root: root}
}

// Why is the reason for not using cgroups, "" when they are used.
func (f *Forest) Why() string { return f.why }

// Close removes the supervisor's directory; all trees are closed.
func (f *Forest) Close() {
	if f.root != "" {
		removeCgroup(f.root, removeTimeout)
	}
}

// ownCgroup is the directory of the cgroup v2 this process is in.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	mount := ""
	for line := range strings.Lines(string(mounts)) {
		left, right, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(left); ok && len(fields) > 4 && strings.HasPrefix(right, "cgroup2 ") {
			mount = fields[4]
		}
	}
	if mount == "" {
		return "", errors.New("no cgroup v2 hierarchy is mounted")
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(mount, path), nil
		}
	}
	return "", errors.New("this process is in no cgroup v2")
}

// Tree is one instance of a service with everything it spawned.
type Tree struct {
	dir   string
	file  *os.File // of dir, nil = no cgroup
	alien bool     // nobody keeps the leader's number for us
}

// New makes a tree. id is unique among the living trees of the forest.
func (f *Forest) New(id string) (*Tree, error) {
	if f.root == "" {
		return &Tree{}, nil
	}
	t := &Tree{dir: filepath.Join(f.root, strings.ReplaceAll(id, "/", "_"))}
	if err := os.Mkdir(t.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make cgroup: %v", err)
	}
	fd, err := unix.Open(t.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		os.Remove(t.dir)
		return nil, fmt.Errorf("cannot open cgroup: %v", err)
	}
	t.file = os.NewFile(uintptr(fd), t.dir)
	return t, nil
}

// How says how the tree is killed.
func (t *Tree) How() string {
	if t.file != nil {
		return ByCgroup
	}
	return ByGroup
}

// Dir is the cgroup's directory, "" when there is none.
func (t *Tree) Dir() string { return t.dir }

// FD is the descriptor to start the first process in, -1 when there is no cgroup. It is valid until Close.
func (t *Tree) FD() int {
	if t.file == nil {
		return -1
	}
	fd := -1
	if rc, err := t.file.SyscallConn(); err == nil {
		rc.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// Members lists the processes of the tree; without a cgroup those that carry the mark of their leader.
func (t *Tree) Members(leader int) []int {
	var pids []int
	if t.file != nil {
		list, _ := os.ReadFile(filepath.Join(t.dir, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	for _, pid := range processes() {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err == nil && hasVar(env, exec.LeaderVar, strconv.Itoa(leader)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Kill kills every process of the tree. leader is the first process's pid, which must not have been reaped yet, or 0 when it never ran.
func (t *Tree) Kill(leader int) {
	if t.file != nil && killCgroup(t.dir) == nil {
		return
	}
	if leader > 0 {
		if !t.alien {
			unix.Kill(-leader, unix.SIGKILL)
		}
		killMarked(leader)
	}
}

// Close waits until the killed processes are gone and removes the cgroup.
func (t *Tree) Close() error {
	if t.file == nil {
		return nil
	}
	t.file.Close()
	return removeCgroup(t.dir, removeTimeout)
}

func killCgroup(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
}

// removeCgroup removes dir and what a service may have made below it. Processes that were killed leave within microseconds, so the pause begins short.
func removeCgroup(dir string, within time.Duration) error {
	pause := 100 * time.Microsecond
	for end := time.Now().Add(within); ; {
		err := os.Remove(dir)
		if err == nil || os.IsNotExist(err) {
			return nil
		}
		if subs, _ := os.ReadDir(dir); len(subs) > 0 {
			for _, s := range subs {
				if s.IsDir() {
					removeCgroup(filepath.Join(dir, s.Name()), 0)
				}
			}
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("cannot remove cgroup: %v", err)
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// Root is the directory of the supervisor's cgroup, "" when cgroups are not used.
func (f *Forest) Root() string { return f.root }
