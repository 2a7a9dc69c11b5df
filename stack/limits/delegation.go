package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// useV2 has the services' cgroups get the controller and says why it cannot, "" = they have it.
func (h *Host) useV2(controller string) string {
	if h.root == "" {
		return "no group may be made"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.v2OK[controller] {
		return ""
	}
	if err := h.enable(controller); err != nil {
		return reason(err)
	}
	if h.v2OK == nil {
		h.v2OK = map[string]bool{}
	}
	h.v2OK[controller] = true
	return ""
}

// enable hands the controller down from the group the supervisor was started in to the groups of its services.
func (h *Host) enable(controller string) error {
	base := filepath.Dir(h.root)
	if !h.has(base, "cgroup.controllers", controller) {
		return fmt.Errorf("the controller %s is not delegated to it", controller)
	}
	if !h.has(base, "cgroup.subtree_control", controller) {
		file := filepath.Join(base, "cgroup.subtree_control")
		err := write(file, "+"+controller)
		if errors.Is(err, unix.EBUSY) { // only groups without processes hand controllers down
			if err = h.stepAside(base); err == nil {
				err = write(file, "+"+controller)
			}
		}
		if err != nil {
			return err
		}
		h.opened = append(h.opened, controller)
	}
	return write(filepath.Join(h.root, "cgroup.subtree_control"), "+"+controller)
}

func (h *Host) has(dir, file, controller string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), controller)
}

// stepAside moves this process from base into a leaf of its own. Strangers are left alone.
func (h *Host) stepAside(base string) error {
	procs, err := os.ReadFile(filepath.Join(base, "cgroup.procs"))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(procs)) != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("other processes than the supervisor are in its group %s", base)
	}
	leaf := h.root + "-supervisor"
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := write(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		os.Remove(leaf)
		return err
	}
	h.self = leaf
	return nil
}
