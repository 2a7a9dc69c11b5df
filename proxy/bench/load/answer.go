package load

import "bytes"

// answer follows one answer through the pieces in which it comes. Until its head is complete the pieces are kept one after the other.
type answer struct {
	kept int // bytes of the head so far
	got  int // bytes of the whole answer so far
	want int // bytes of the whole answer; 0 = head not complete
	ok   bool
}

func (a *answer) whole() bool { return a.want > 0 && a.got >= a.want }

// add takes the n bytes that were read behind those kept in buf; false means that the head does not fit.
func (a *answer) add(buf []byte, n int) bool {
	a.got += n
	if a.want > 0 {
		return true
	}
	a.kept += n
	i := bytes.Index(buf[:a.kept], headEnd)
	if i < 0 {
		return a.kept < len(buf)
	}
	a.ok = len(buf) > 9 && buf[9] == '2'
	a.want = i + 4 + contentLength(buf[:i+2])
	a.kept = 0
	return true
}
