package reap

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ResumeForest goes on with the forest whose Root was root; its trees live. It fails when the directory is gone.
func ResumeForest(root, why string) (*Forest, error) {
	if root == "" {
		return &Forest{why: why}, nil
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.kill")); err != nil {
		return nil, fmt.Errorf("the services' cgroup is gone: %v", err)
	}
	return &Forest{root: root}, nil
}

// Attach is New for a tree that an earlier supervisor, or this one before it replaced its program, has made. alien says that the leader is no child of this process.
func (f *Forest) Attach(id string, alien bool) (*Tree, error) {
	t := &Tree{alien: alien}
	if f.root == "" {
		return t, nil
	}
	t.dir = filepath.Join(f.root, strings.ReplaceAll(id, "/", "_"))
	fd, err := unix.Open(t.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open cgroup: %v", err)
	}
	t.file = os.NewFile(uintptr(fd), t.dir)
	return t, nil
}

// Holds says whether pid is in the tree; without cgroups nobody can tell, and it is believed.
func (t *Tree) Holds(pid int) bool {
	if t.file == nil {
		return true
	}
	for _, p := range t.Members(pid) {
		if p == pid {
			return true
		}
	}
	return false
}

// Detach lets go of the tree without touching its processes.
func (t *Tree) Detach() {
	if t.file != nil {
		t.file.Close()
	}
}

// Strangers lists the trees whose ids are not in known.
func (f *Forest) Strangers(known map[string]bool) (dirs []string) {
	if f.root == "" {
		return nil
	}
	names := map[string]bool{}
	for id := range known {
		names[strings.ReplaceAll(id, "/", "_")] = true
	}
	subs, _ := os.ReadDir(f.root)
	for _, s := range subs {
		if s.IsDir() && !names[s.Name()] {
			dirs = append(dirs, filepath.Join(f.root, s.Name()))
		}
	}
	return dirs
}

// Fell kills and removes what Strangers listed.
func Fell(dirs []string) {
	for _, dir := range dirs {
		killCgroup(dir)
		removeCgroup(dir, removeTimeout)
	}
}
