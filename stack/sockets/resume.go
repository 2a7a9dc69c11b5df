package sockets

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Saved is one held socket as another program, or another supervisor, takes it over.
type Saved struct {
	Spec
	Bound   string `json:"bound"`
	Adopted bool   `json:"adopted,omitempty"` // the service manager made it
	FD      int    `json:"fd"`                // of a duplicate, -1 = none was handed over
	Inode   uint64 `json:"inode,omitempty"`   // of the socket, to find it among the descriptors of a process
}

// Save lists the held sockets. FD is of the holder's own descriptor, and stays the holder's.
func (h *Holder) Save() []Saved {
	var list []Saved
	for _, s := range h.Held() {
		var st unix.Stat_t
		unix.Fstat(s.fd, &st)
		list = append(list, Saved{Spec: s.Spec, Bound: s.Bound, Adopted: s.Adopted, FD: s.fd, Inode: st.Ino})
	}
	return list
}

// Resume holds what Save listed and, beside it, what files offer for sockets to come. The descriptors in list stay the caller's.
func Resume(list []Saved, files []*os.File) (h *Holder, ignored []string, err error) {
	h, ignored = NewHolder(files)
	for _, s := range list {
		if s.FD < 0 {
			continue
		}
		fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			err = check(fd, s)
		}
		if err != nil {
			h.abandon()
			return nil, nil, fmt.Errorf("cannot take over the socket of %s: %v", s.Name, err)
		}
		h.held[s.key()] = &Socket{Spec: s.Spec, Bound: s.Bound, Adopted: s.Adopted, fd: fd}
	}
	return h, ignored, nil
}

// check makes sure that fd listens where it should.
func check(fd int, s Saved) error {
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		return fmt.Errorf("descriptor %d is no listening socket", s.FD)
	}
	network, address, err := localAddress(fd)
	if err == nil && (network != s.Network || address != s.Bound && !sameAddress(Spec{Network: s.Network, Address: s.Bound}, address)) {
		err = fmt.Errorf("descriptor %d listens on %s, not on %s", s.FD, address, s.Bound)
	}
	if in := (&inherited{network: network, address: address}); err == nil && in.lost() {
		err = fmt.Errorf("the file %s was removed", address)
	}
	return err
}

// abandon closes the descriptors and leaves the files alone: they are another's.
func (h *Holder) abandon() {
	for _, s := range h.held {
		unix.Close(s.fd)
	}
	for _, in := range h.spare {
		unix.Close(in.fd)
	}
	h.held, h.spare = map[string]*Socket{}, nil
}

// Abandon lets go of all sockets; who else has them goes on accepting, and the files of Unix sockets stay.
func (h *Holder) Abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abandon()
}
