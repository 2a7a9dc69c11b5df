package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var errNoSocket = errors.New("no socket: give --socket or start under a supervisor")

// firstFD is where inherited descriptors begin, by the LISTEN_FDS protocol.
const firstFD = 3

// listen returns the inherited socket, or one made at path.
func listen(path string, getenv func(string) string) (net.Listener, error) {
	fd, err := inherited(getenv)
	if err != nil {
		return nil, err
	}
	if fd >= 0 {
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "agent")
		defer file.Close()
		ln, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("cannot use inherited socket: %v", err)
		}
		if unix, ok := ln.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false) // the one who made it removes it
		}
		return ln, nil
	}
	if path == "" {
		return nil, errNoSocket
	}
	return listenAt(path)
}

// inherited returns the descriptor named "agent", else the only one, else -1.
func inherited(getenv func(string) string) (int, error) {
	if pid := getenv("LISTEN_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return -1, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n <= 0 {
		return -1, nil
	}
	for i, name := range strings.Split(getenv("LISTEN_FDNAMES"), ":") {
		if name == "agent" && i < n {
			return firstFD + i, nil
		}
	}
	if n == 1 {
		return firstFD, nil
	}
	return -1, fmt.Errorf("cannot choose among %d inherited sockets: none is named agent", n)
}

// listenAt makes a socket that the owner and its group may use. A socket nobody listens on any more is replaced, anything else in its place is left alone.
func listenAt(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("cannot listen on %s: a file that is no socket is in the way", path)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("cannot listen on %s: somebody already does", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot replace old socket: %v", err)
		}
	}
	old := syscall.Umask(0o117)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %v", err)
	}
	return ln, nil
}
