package websocket

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// frames are some frames of every length that is coded in another way; ends are the offsets behind them.
func frames(key *[4]byte) (all []byte, ends map[int]bool) {
	ends = map[int]bool{0: true}
	for _, n := range []int{0, 1, 125, 126, 300, 1<<16 - 1, 1 << 16} {
		all = AppendFrame(all, n%2 == 0, Binary, key, bytes.Repeat([]byte{0x88}, n))
		ends[len(all)] = true
		all = AppendFrame(all, true, Ping, key, []byte("p"))
		ends[len(all)] = true
	}
	return all, ends
}

// TestBoundary: however the bytes are cut, it knows where frames end, of clients and of servers.
func TestBoundary(t *testing.T) {
	t.Parallel()
	for _, key := range []*[4]byte{nil, {1, 2, 3, 4}} {
		all, ends := frames(key)
		for range 200 {
			var b Boundary
			for at := 0; at < len(all); {
				n := min(1+rand.IntN(1<<rand.IntN(17)), len(all)-at)
				b.Pass(all[at : at+n])
				if at += n; b.Between() != ends[at] || b.Closed() {
					t.Fatalf("at %d: between %v, closed %v", at, b.Between(), b.Closed())
				}
			}
		}
		closing := AppendFrame(nil, true, Close, key, []byte{3, 232})
		var b Boundary
		b.Pass(all)
		b.Pass(closing[:len(closing)-1])
		if b.Closed() || b.Between() {
			t.Error("closed before the end of the frame")
		}
		b.Pass(closing[len(closing)-1:])
		if !b.Closed() || !b.Between() {
			t.Error("not closed")
		}
	}
}

// TestPassFrame: it stops at the end of the frame it stands in.
func TestPassFrame(t *testing.T) {
	t.Parallel()
	all, ends := frames(nil)
	for at := range 2000 {
		var b Boundary
		b.Pass(all[:at])
		n := b.PassFrame(all[at:])
		want := 0
		for !ends[at+want] {
			want++
		}
		if n != want || !b.Between() {
			t.Fatalf("at %d: %d bytes to the end of the frame, want %d", at, n, want)
		}
	}
}

// TestBoundaryLost: what is no WebSocket never seems to be between two frames.
func TestBoundaryLost(t *testing.T) {
	t.Parallel()
	for name, p := range map[string][]byte{
		"opcode": {0x83, 0}, "length": {0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		var b Boundary
		b.Pass(append(p, make([]byte, 100)...))
		if b.Between() {
			t.Errorf("%s: between", name)
		}
	}
}
