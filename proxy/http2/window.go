package http2

// SendWindow is how much may still be sent: on a stream, or on a connection. It may be negative after the peer has made its initial window smaller.
type SendWindow struct{ left int64 }

// NewSendWindow returns a window of n bytes.
func NewSendWindow(n uint32) SendWindow { return SendWindow{int64(n)} }

// Left is how many bytes may be sent; 0 when the window is used up or overdrawn.
func (w *SendWindow) Left() int { return int(max(w.left, 0)) }

// Take uses n bytes, of which there are at least so many.
func (w *SendWindow) Take(n int) { w.left -= int64(n) }

// Grow adds what the peer grants, or, for a stream, the change of its initial window, which may be negative. It reports false when the window would be larger than MaxWindow.
func (w *SendWindow) Grow(n int64) bool {
	w.left += n
	return w.left <= MaxWindow
}

// ReceiveWindow is how much the peer may still send, and what it was granted and has not been told yet.
type ReceiveWindow struct {
	left int64
	due  int64 // used and given back, not announced
	size int64
}

// NewReceiveWindow returns a window of n bytes.
func NewReceiveWindow(n uint32) ReceiveWindow { return ReceiveWindow{left: int64(n), size: int64(n)} }

// Take notes that n bytes came. It reports false when they were more than granted.
func (w *ReceiveWindow) Take(n int) bool {
	w.left -= int64(n)
	return w.left >= 0
}

// Give notes that n bytes have been consumed. It returns what to announce in a WINDOW_UPDATE, or 0 while that is less than half of the window: so a body costs
// one announcement for many frames.
func (w *ReceiveWindow) Give(n int) uint32 {
	w.due += int64(n)
	if w.due*2 < w.size {
		return 0
	}
	due := w.due
	w.due = 0
	w.left += due
	return uint32(due)
}

// Enlarge makes the window n bytes instead of what it was, at the start of a connection, and returns what to announce.
func (w *ReceiveWindow) Enlarge(n uint32) uint32 {
	more := max(int64(n)-w.size, 0)
	w.left += more
	w.size += more
	return uint32(more)
}
