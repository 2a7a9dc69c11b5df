package hooks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxOutput is how much of the output of one run is logged; the rest is read and thrown away, so that the program does not block.
const maxOutput = 64 << 10

// leftTime is how long output is waited for when the program has ended and somebody who escaped still holds the pipe.
const leftTime = time.Second

// capture is the read end of a hook's output.
type capture struct {
	*os.File
	write int // the other end

	left    int
	dropped int64
	last    []byte // what is still to be said at the end, nil = not yet made
	over    atomic.Bool
}

func newCapture() (*capture, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make pipe: %v", err)
	}
	unix.SetNonblock(fds[0], true)
	return &capture{File: os.NewFile(uintptr(fds[0]), "output"), write: fds[1], left: maxOutput}, nil
}

// Read gives what may be logged, and at the end a line about what may not.
func (c *capture) Read(b []byte) (int, error) {
	for c.last == nil {
		n, err := c.File.Read(b)
		if kept := min(n, c.left); kept > 0 {
			c.left -= kept
			c.dropped += int64(n - kept)
			return kept, nil // an error comes again
		}
		c.dropped += int64(n)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.over.Load():
			return 0, err
		default:
			c.last = []byte{}
			if c.dropped > 0 {
				c.last = fmt.Appendf(nil, "\n(%d more bytes of output were thrown away)\n", c.dropped)
			}
		}
	}
	n := copy(b, c.last)
	if c.last = c.last[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// end is called when the program has ended.
func (c *capture) end() {
	c.over.Store(true)
	c.SetReadDeadline(time.Now().Add(leftTime))
}
