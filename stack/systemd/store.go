package systemd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Store has the service manager keep a descriptor: when this process has ended, its successor gets it by Files under the name. One that is stored already is not stored twice. It is
// not polled, so that it stays whatever happens to it. Best effort: without FileDescriptorStoreMax= nothing is kept.
func (n *Notifier) Store(name string, fd int) error {
	return n.sendWith("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd)
}

// Forget has the service manager close what it keeps under the name.
func (n *Notifier) Forget(name string) error { return n.sendWith("FDSTOREREMOVE=1\nFDNAME=" + name) }

// Active says whether a service manager listens.
func (n *Notifier) Active() bool { return n.active }

// sendWith sends a message with descriptors, which go-systemd cannot.
func (n *Notifier) sendWith(text string, fds ...int) error {
	if !n.active {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot reach the service manager: %v", err)
	}
	defer unix.Close(fd)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	to := &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")} // a leading @ is an abstract name here too
	if err := unix.Sendmsg(fd, []byte(text), oob, to, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("cannot tell the service manager: %v", err)
	}
	return nil
}
