package attack

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
)

// Attacker is an upstream that answers the first request of a turn with prepared bytes, and later ones in an orderly way.
type Attacker struct {
	mu    sync.Mutex // guards the rest
	turn  *Turn
	conns int   // accepted so far
	used  []int // numbers of the connections on which the requests of this turn came
}

// Begin makes it ready for a turn.
func (a *Attacker) Begin(turn *Turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn, a.used = turn, nil
}

// next notes a request on a connection and returns what to answer.
func (a *Attacker) next(number int) (answer string, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = append(a.used, number)
	if len(a.used) == 1 {
		return a.turn.Raw, a.turn.Close
	}
	return "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nk", false
}

// Serve answers what comes on one connection.
func (a *Attacker) Serve(c net.Conn) {
	a.mu.Lock()
	a.conns++
	number := a.conns
	a.mu.Unlock()
	var buf []byte
	for {
		end := bytes.Index(buf, []byte("\r\n\r\n"))
		for ; end < 0; end = bytes.Index(buf, []byte("\r\n\r\n")) {
			if !more(c, &buf) {
				return
			}
		}
		buf = buf[end+4:]
		answer, last := a.next(number)
		if _, err := io.WriteString(c, answer); err != nil || last {
			return
		}
	}
}

// Used returns the numbers of the connections on which the requests of this turn came.
func (a *Attacker) Used() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.used)
}
