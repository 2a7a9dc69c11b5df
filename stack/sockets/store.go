package sockets

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// storePrefix begins the names of sockets that a supervisor has the service manager keep for its successor.
const storePrefix = "sentinel-held-"

func stored(name string) bool { return strings.HasPrefix(name, storePrefix) }

// StoreName is what the service manager calls the socket while it keeps it. It depends on the address alone, as names there take few characters.
func (s Spec) StoreName() string {
	sum := sha256.Sum256([]byte(s.key()))
	return storePrefix + hex.EncodeToString(sum[:8])
}

// Drop closes the sockets that an earlier supervisor had stored and nothing uses any more, and returns their names.
func (h *Holder) Drop() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.spare[:0]
	for _, in := range h.spare {
		if !stored(in.name) {
			kept = append(kept, in)
			continue
		}
		unix.Close(in.fd)
		names = append(names, in.name)
	}
	h.spare = kept
	return names
}

// Offers says whether Listen would return a socket that is held or was inherited, rather than open one.
func (h *Holder) Offers(spec Spec) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[spec.key()] != nil {
		return true
	}
	for _, in := range h.spare {
		if !in.lost() && (in.name == spec.StoreName() || in.network == spec.Network && (sameAddress(spec, in.address) || in.name == spec.Name)) {
			return true
		}
	}
	return false
}

// FromProcess duplicates the socket with the given inode out of a process that has it, wherever it keeps it. pidfd holds the process pid. The kernel allows it to whoever may trace the process.
func FromProcess(pidfd, pid int, inode uint64) (fd int, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return -1, fmt.Errorf("cannot look at the descriptors of process %d: %v", pid, err)
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	for _, e := range entries {
		if link, err := os.Readlink(dir + "/" + e.Name()); err != nil || link != want {
			continue
		}
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			return -1, fmt.Errorf("cannot duplicate a socket of process %d: %v", pid, err)
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Ino != inode { // it was closed and the number used again meanwhile
			unix.Close(fd)
			continue
		}
		return fd, nil
	}
	return -1, fmt.Errorf("process %d does not hold it", pid)
}
