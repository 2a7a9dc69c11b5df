// Package ready finds out whether a service is ready and alive: by what it reports (Receiver) and by asking it (probes).
package ready

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

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
	fn   func(Report)

	start sync.Once
	wg    sync.WaitGroup

	mu     sync.Mutex
	paused chan struct{} // nil = it reads; closed when it has stopped
	goOn   chan struct{}
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
	r := &Receiver{conn: conn, path: path, fn: fn}
	r.Start()
	return r, nil
}

// ResumeReceiver takes over the socket of a receiver that was bound to path; fd stays the caller's. Nothing is read before Start.
func ResumeReceiver(fd int, path string, fn func(Report)) (*Receiver, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot take over notification socket: %v", err)
	}
	f := os.NewFile(uintptr(dup), path)
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot take over notification socket: %v", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("cannot take over notification socket: it is none")
	}
	return &Receiver{conn: conn, path: path, fn: fn}, nil
}

// Start begins to read; a second call does nothing.
func (r *Receiver) Start() { r.start.Do(func() { r.wg.Go(func() { r.run(r.fn) }) }) }

// Duplicate is another descriptor of the socket, closed when a program is executed. What is sent waits in the socket until somebody reads it.
func (r *Receiver) Duplicate() (int, error) {
	rc, err := r.conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// Path is the value of NOTIFY_SOCKET.
func (r *Receiver) Path() string { return r.path }

// Close ends the receiver and removes its socket.
func (r *Receiver) Close() {
	r.conn.Close()
	r.wg.Wait()
	os.Remove(r.path)
}

// Pause stops reading: when it returns, fn has been called for all that was read. GoOn ends it.
func (r *Receiver) Pause() {
	r.mu.Lock()
	r.paused, r.goOn = make(chan struct{}), make(chan struct{})
	paused := r.paused
	r.mu.Unlock()
	r.conn.SetReadDeadline(time.Unix(1, 0))
	<-paused
}

// GoOn reads again after Pause.
func (r *Receiver) GoOn() {
	r.conn.SetReadDeadline(time.Time{})
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.goOn)
	r.paused = nil
}

func (r *Receiver) rest() {
	r.mu.Lock()
	paused, goOn := r.paused, r.goOn
	r.mu.Unlock()
	if paused != nil {
		close(paused)
		<-goOn
	}
}

// Abandon ends the receiver and leaves its socket's file alone: it is another's.
func (r *Receiver) Abandon() {
	r.conn.Close()
	r.wg.Wait()
}

func (r *Receiver) run(fn func(Report)) {
	buf := make([]byte, maxReport)
	oob := make([]byte, 256)
	for {
		n, oobn, _, _, err := r.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.rest()
			continue
		}
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
