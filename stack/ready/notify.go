// Package ready finds out whether a service is ready and alive: by what it reports (Receiver) and by asking it (probes).
package ready

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Report is one message of systemd's notification protocol.
type Report struct {
	PID      int // of the sender, told by the kernel
	Ready    bool
	Watchdog bool
	Stopping bool
	Status   string // "" = none
}

// maxReport is systemd's own bound.
const maxReport = 4096

// Receiver takes notifications on the socket of one service.
type Receiver struct {
	conn *net.UnixConn
	path string
	wg   sync.WaitGroup
}

// NewReceiver listens at path and calls fn for each report from one goroutine until Close. fn decides by PID whom it believes.
func NewReceiver(path string, fn func(Report)) (*Receiver, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot make notification socket: %v", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot make notification socket: %v", err)
	}
	var optErr error
	rc, err := conn.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	if err != nil || optErr != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot ask for credentials on %s: %v %v", path, err, optErr)
	}
	r := &Receiver{conn: conn, path: path}
	r.wg.Go(func() { r.run(fn) })
	return r, nil
}

// Path is the value of NOTIFY_SOCKET.
func (r *Receiver) Path() string { return r.path }

// Close ends the receiver and removes its socket.
func (r *Receiver) Close() {
	r.conn.Close()
	r.wg.Wait()
	os.Remove(r.path)
}

func (r *Receiver) run(fn func(Report)) {
	buf := make([]byte, maxReport)
	oob := make([]byte, 256)
	for {
		n, oobn, _, _, err := r.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return // closed
		}
		if pid := sender(oob[:oobn]); pid > 0 {
			rep := parse(string(buf[:n]))
			rep.PID = pid
			fn(rep)
		}
	}
}

// sender returns the pid the kernel attached; descriptors that came along (FDSTORE, BARRIER) are closed, which is all a barrier waits for.
func sender(oob []byte) int {
	pid := 0
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for i := range msgs {
		if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			pid = int(cred.Pid)
		} else if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return pid
}

// parse reads VAR=value lines; unknown variables are for others.
func parse(msg string) (r Report) {
	for line := range strings.SplitSeq(msg, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "READY":
			r.Ready = value == "1"
		case "WATCHDOG":
			r.Watchdog = value == "1"
		case "STOPPING":
			r.Stopping = value == "1"
		case "STATUS":
			r.Status = value
		}
	}
	return r
}
