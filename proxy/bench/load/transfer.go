package load

import (
	"fmt"
	"io"
	"net"
	"time"
)

// Transfer is one large body over a plain connection of its own, one way or the other.
type Transfer struct {
	Upload bool
	Size   int64
	Path   string
}

const piece = 256 << 10 // of one read or write

// RunTransfer sends or gets the body once and counts it as one request.
func RunTransfer(o Options, t Transfer) (*Result, error) {
	begin := time.Now()
	conn, err := net.DialTimeout("tcp", o.Target.String(), 10*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(begin.Add(2 * time.Minute))
	head := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: bench.test\r\n\r\n", t.Path)
	if t.Upload {
		head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n", t.Path, t.Size)
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return nil, err
	}
	buf := make([]byte, piece)
	if t.Upload {
		for left := t.Size; left > 0; {
			n, err := conn.Write(buf[:min(left, piece)])
			if err != nil {
				return nil, fmt.Errorf("cannot send the body, %d bytes left: %v", left, err)
			}
			left -= int64(n)
		}
	}
	a := answer{}
	for !a.whole() {
		n, err := conn.Read(buf[a.kept:])
		if err != nil {
			return nil, fmt.Errorf("cannot read the answer after %d bytes: %v", a.got, err)
		}
		if !a.add(buf, n) {
			return nil, fmt.Errorf("no head in %d bytes", len(buf))
		}
	}
	if !t.Upload && int64(a.got) < t.Size {
		return nil, fmt.Errorf("got %d bytes, want %d", a.got, t.Size)
	}
	res := &Result{Requests: 1, All: 1, Bytes: uint64(t.Size), Elapsed: time.Since(begin)}
	if !a.ok {
		res.Non2xx = 1
	}
	res.Latency.Add(res.Elapsed)
	return res, nil
}
