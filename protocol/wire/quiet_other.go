//go:build !linux

package wire

import "net"

// Quiet returns conn.
func Quiet(conn net.Conn) net.Conn { return conn }
