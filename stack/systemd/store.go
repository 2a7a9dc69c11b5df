package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"

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
	path := os.Getenv("NOTIFY_SOCKET")
	if strings.HasPrefix(path, "@") { // an abstract name
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot reach the service manager: %v", err)
	}
	defer conn.Close()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix([]byte(text), oob, nil); err != nil {
		return fmt.Errorf("cannot tell the service manager: %v", err)
	}
	return nil
}
