package upstream

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"
)

// Stream is a connected stream socket, TCP or Unix: what both have in common is all that is asked of one.
type Stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// unixScheme begins the address of a target that listens on a Unix socket.
const unixScheme = "unix:"

// SocketPath is where a target listens whose address names a Unix socket; "" = it is on the network.
func SocketPath(address string) string {
	path, ok := strings.CutPrefix(address, unixScheme)
	if !ok {
		return ""
	}
	return path
}

// HostOf is the Host header for a target when the request has none. A path is not a host: what listens on a Unix socket is asked as localhost.
func HostOf(address string) string {
	if SocketPath(address) != "" {
		return "localhost"
	}
	return address
}

const (
	firstFullPause = time.Millisecond
	lastFullPause  = 50 * time.Millisecond
)

// dialUnix connects to a path. Where TCP keeps a client waiting while the backlog is full, Linux turns it away at once, so the waiting is done here.
func dialUnix(ctx context.Context, path string) (Stream, error) {
	var d net.Dialer
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	for pause := firstFullPause; ; pause = min(2*pause, lastFullPause) {
		c, err := d.DialUnix(ctx, "unix", nil, addr)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}
