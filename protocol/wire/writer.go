package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// ErrBacklog is returned when the peer does not read and so much is waiting already that another message would be too much.
var ErrBacklog = errors.New("peer does not read")

const (
	maxBacklog = 4 << 20 // bytes that may wait for a slow peer, beside one message
	maxRounds  = 4       // batches a sender writes for others before it hands over to Run
)

// Writer sends frames on a connection, from many goroutines at once, in the order of the calls. A sender that finds nobody writing writes itself,
// which costs one system call and no goroutine switch; senders that come meanwhile only append, and the one who writes takes their frames along. No
// sender ever waits for the peer: what the socket does not take at once is left to Run.
type Writer struct {
	conn net.Conn
	raw  syscall.RawConn // nil when conn is no socket; then Run does all writing

	mu      sync.Mutex // guards everything below
	out     []byte     // frames not yet taken
	spare   []byte     // the other buffer
	rest    []byte     // taken by Run
	writing bool       // somebody has taken frames and is writing
	err     error      // the first failure; final

	wake chan struct{} // tells Run that rest is not empty
	stop chan struct{}

	attempt func(fd uintptr) bool // made once: one nonblocking write of trying
	trying  []byte
	tried   int
	tryErr  syscall.Errno
}

// NewWriter returns a Writer on conn. Its owner calls Run in a goroutine and Close at the end.
func NewWriter(conn net.Conn) *Writer {
	w := &Writer{conn: conn, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	w.attempt = func(fd uintptr) bool {
		for {
			w.tried, w.tryErr = rawWrite(fd, w.trying)
			if w.tryErr != syscall.EINTR {
				return true
			}
		}
	}
	return w
}

// Send sends message m. An error of encoding concerns only m; every other error is final for the connection.
func (w *Writer) Send(f Format, m any) error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	out, err := AppendFrame(w.out, f, m)
	w.out = out
	return w.flush(err)
}

// SendRaw sends a frame with a ready payload.
func (w *Writer) SendRaw(t protocol.FrameType, payload []byte) error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.out = AppendRaw(w.out, t, payload)
	return w.flush(nil)
}

func (w *Writer) ready() error {
	if w.err != nil {
		return w.err
	}
	if len(w.out)+len(w.rest) > maxBacklog {
		return ErrBacklog
	}
	return nil
}

// flush writes what is waiting unless somebody else does. It is called with the lock held and gives it back.
func (w *Writer) flush(err error) error {
	if w.writing || len(w.out) == 0 {
		w.mu.Unlock()
		return err
	}
	w.writing = true
	for round := 0; ; round++ {
		batch := w.out
		w.out = w.spare[:0]
		w.spare = nil
		if w.raw == nil || round == maxRounds {
			w.handOver(batch)
			return err
		}
		w.mu.Unlock()
		n, writeErr := w.try(batch)
		w.mu.Lock()
		if writeErr != nil {
			w.fail(writeErr)
			return writeErr
		}
		if n < len(batch) {
			w.handOver(batch[n:])
			return err
		}
		w.keep(batch)
		if len(w.out) == 0 {
			w.writing = false
			w.mu.Unlock()
			return err
		}
	}
}

// handOver leaves the rest of a batch to Run and gives the lock back.
func (w *Writer) handOver(rest []byte) {
	w.rest = rest
	w.mu.Unlock()
	w.wake <- struct{}{} // has room: only the one who writes sends, and Run empties it before somebody else may write
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.writing, w.out, w.spare, w.rest = false, nil, nil, nil
	w.mu.Unlock()
	w.conn.Close() // the reader of this connection notices and cleans up
}

// keep remembers a batch's memory for the next one unless it is large.
func (w *Writer) keep(batch []byte) {
	if cap(batch) <= keepBuffer {
		w.spare = batch[:0]
	}
}

// try writes without waiting and returns how much the socket took.
func (w *Writer) try(b []byte) (int, error) {
	w.trying, w.tried, w.tryErr = b, 0, 0
	if err := w.raw.Write(w.attempt); err != nil {
		return 0, err
	}
	w.trying = nil
	switch w.tryErr {
	case 0:
		return w.tried, nil
	case syscall.EAGAIN:
		return 0, nil
	}
	return 0, os.NewSyscallError("write", w.tryErr)
}

// Run writes what senders could not, until Close. A peer that takes nothing for protocol.WriteTimeout loses the connection.
func (w *Writer) Run() {
	for {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		w.mu.Lock()
		for w.err == nil {
			if len(w.rest) == 0 {
				w.rest, w.out, w.spare = w.out, w.spare[:0], nil
			}
			rest := w.rest
			if len(rest) == 0 {
				w.writing = false
				break
			}
			w.mu.Unlock()
			err := w.writeAll(rest)
			w.mu.Lock()
			if err != nil {
				w.fail(err)
				w.mu.Lock()
				break
			}
			w.rest = nil
			w.keep(rest[:0])
		}
		w.mu.Unlock()
	}
}

// writeAll writes b, allowing WriteTimeout for each piece the socket takes.
func (w *Writer) writeAll(b []byte) error {
	const piece = 64 << 10
	for len(b) > 0 {
		if err := w.conn.SetWriteDeadline(time.Now().Add(protocol.WriteTimeout)); err != nil {
			return err
		}
		n, err := w.conn.Write(b[:min(piece, len(b))])
		if b = b[n:]; err != nil {
			return err
		}
	}
	return w.conn.SetWriteDeadline(time.Time{})
}

// Close ends Run. Sends fail from now on. It does not close the connection.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = net.ErrClosed
	}
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
}

// Idle reports whether everything sent has reached the socket.
func (w *Writer) Idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.writing || w.err != nil
}
