package limits

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Host is what this machine offers one supervisor. The zero value offers rlimits and sampling only. A controller is probed when a limit first asks for
// it, so that a stack without limits leaves the machine's cgroups alone. Safe for concurrent use.
type Host struct {
	root string            // the supervisor's cgroup v2 directory, below which the services' are; "" = none
	name string            // of its directories in hierarchies of version 1
	v1   map[string]string // the supervisor's own cgroup by controller of version 1

	mu     sync.Mutex
	v2OK   map[string]bool // controllers found to work; what did not may do so later
	v1OK   map[string]bool
	self   string   // the leaf this process was moved to, "" = it was not
	opened []string // controllers enabled for the children of root's parent
}

// Open finds the hierarchies. root is the supervisor's cgroup v2 directory or "", name is unique to it while it holds its lock. Directories of version 1
// that an earlier supervisor of that name left behind are removed; its processes are dead.
func Open(root, name string) *Host {
	h := &Host{root: root, name: "sentinel-" + name, v1: ownV1("/proc/self/mountinfo", "/proc/self/cgroup")}
	h.clear()
	return h
}

// Close removes what Open's user made. All groups are closed.
func (h *Host) Close() {
	h.clear()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.root == "" {
		return
	}
	base := filepath.Dir(h.root)
	for _, c := range h.opened { // a group with processes of its own can have no controllers for its children
		write(filepath.Join(h.root, "cgroup.subtree_control"), "-"+c)
		write(filepath.Join(base, "cgroup.subtree_control"), "-"+c)
	}
	if h.self != "" && write(filepath.Join(base, "cgroup.procs"), strconv.Itoa(os.Getpid())) == nil {
		os.Remove(h.self)
	}
}

func (h *Host) clear() {
	for _, base := range h.v1 {
		top := filepath.Join(base, h.name)
		subs, _ := os.ReadDir(top)
		for _, s := range subs {
			if s.IsDir() {
				os.Remove(filepath.Join(top, s.Name()))
			}
		}
		os.Remove(top)
	}
}

// Groups counts the instances' groups of version 1.
func (h *Host) Groups() (n int) {
	for _, base := range h.v1 {
		subs, _ := os.ReadDir(filepath.Join(base, h.name))
		for _, s := range subs {
			if s.IsDir() {
				n++
			}
		}
	}
	return n
}

// ownV1 finds the cgroup of this process in each hierarchy of version 1, by controller.
func ownV1(mountinfo, cgroup string) map[string]string {
	mounts, _ := os.ReadFile(mountinfo)
	own, _ := os.ReadFile(cgroup)
	found := map[string]string{}
	for line := range strings.Lines(string(mounts)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		at, fs := strings.Fields(left), strings.Fields(right)
		if !ok || len(at) < 5 || len(fs) < 3 || fs[0] != "cgroup" {
			continue
		}
		for _, controller := range strings.Split(fs[2], ",") {
			for entry := range strings.Lines(string(own)) {
				f := strings.SplitN(strings.TrimSpace(entry), ":", 3)
				if len(f) != 3 || !slices.Contains(strings.Split(f[1], ","), controller) {
					continue
				}
				path := f[2]
				if root := at[3]; root != "/" { // a container sees its own part of the hierarchy
					path = strings.TrimPrefix(path, root)
				}
				found[controller] = filepath.Join(at[4], path)
			}
		}
	}
	return found
}

// useV1 makes the supervisor's directory in the controller's hierarchy of version 1 and says why it cannot, "" = it is there.
func (h *Host) useV1(controller string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	base := h.v1[controller]
	switch {
	case h.v1OK[controller]:
		return ""
	case base == "":
		return "no " + controller + " hierarchy is mounted"
	}
	if err := os.Mkdir(filepath.Join(base, h.name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return reason(err)
	}
	if h.v1OK == nil {
		h.v1OK = map[string]bool{}
	}
	h.v1OK[controller] = true
	return ""
}

// weightFile is the file that takes a disk weight, "" = there is none.
func (h *Host) weightFile(layer string) string {
	dir, names := h.root, []string{"io.weight", "io.bfq.weight"}
	if layer == V1 {
		dir, names = filepath.Join(h.v1["blkio"], h.name), []string{"blkio.weight", "blkio.bfq.weight"}
	}
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); err == nil {
			return n
		}
	}
	return ""
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// reason is an error in one line, for the status.
func reason(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
