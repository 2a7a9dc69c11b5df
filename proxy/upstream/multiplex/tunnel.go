package multiplex

import (
	"os"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// tunnel is what a stream remembers of the WebSocket it was asked for (RFC 8441 §5): HTTP/2 has neither key nor proof, so the proof that the exchange wants to see is made here.
type tunnel struct {
	asked  bool
	open   bool // the target has agreed
	accept []byte
}

func newTunnel(req *http1.Request) tunnel {
	t := tunnel{asked: true}
	for i := range req.Fields {
		if f := &req.Fields[i]; f.ID == http1.SecWebSocketKey {
			t.accept = websocket.AppendAccept(nil, f.Value)
		}
	}
	return t
}

var (
	methodConnect  = []byte("CONNECT")
	fieldProtocol  = []byte(":protocol")
	valueWebSocket = []byte("websocket")
)

// openTunnel takes the answer that begins a tunnel. s.mu is held.
func (st *Stream) openTunnel(a *http2.Answer, end bool) *http2.Error {
	if a.ContentLength >= 0 {
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"} // RFC 9110 §9.3.6
	}
	st.framing, st.tunnel.open = http1.FramingUntilClose, true
	st.tell(a.AppendSwitching(st.text, st.tunnel.accept))
	if end {
		st.remoteEnd, st.told = true, true
		st.forget()
	}
	return nil
}

// CloseWrite ends our side of a tunnel. Any other message says itself where it ends.
func (st *Stream) CloseWrite() error {
	st.s.mu.Lock()
	open := st.tunnel.open && !st.localEnd
	st.s.mu.Unlock()
	if !open {
		return nil
	}
	return st.piece(nil, true)
}

// Await waits until there is something to read, the end and a failure included.
func (st *Stream) Await() error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for st.at == len(st.text) && st.read == len(st.pending) && st.rerr == nil && !st.remoteEnd {
		if st.noRead.passed {
			return os.ErrDeadlineExceeded
		}
		st.readable.Wait()
	}
	return nil
}

// Tunnels reports whether the target takes WebSockets.
func (s *Session) Tunnels() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tunnels
}

// Tunnels reports whether the stream may become a WebSocket.
func (st *Stream) Tunnels() bool { return st.s.Tunnels() }
