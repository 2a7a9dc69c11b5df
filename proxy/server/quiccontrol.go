package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/http3"
)

// maxControlFrame bounds what a frame of the control stream may hold.
const maxControlFrame = 4 << 10

// acceptOthers reads the client's unidirectional streams.
func (h *quicSession) acceptOthers(ctx context.Context, helpers *sync.WaitGroup) {
	for {
		q, err := h.q.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		helpers.Go(func() {
			if err := h.other(q); err != nil {
				h.fail(err)
			}
		})
	}
}

// other reads one of them to its end. Those that matter have none while the connection lasts.
func (h *quicSession) other(q *http3.ReceiveStream) *http3.Error {
	_ = q.SetReadDeadline(time.Now().Add(h.c.settings.HeaderTimeout))
	r := &numbers{q: q}
	kind, err := r.next()
	if err != nil { // it ended, or its kind did not come in time
		http3.StopReading(q, http3.StreamCreationError)
		h.spend(http2.PriceReset)
		return nil
	}
	switch kind {
	case http3.PushStream:
		return http3.Fatal(http3.StreamCreationError, "push-stream")
	case http3.ControlStream, http3.EncoderStream, http3.DecoderStream:
		h.mu.Lock()
		twice := h.opened[kind]
		h.opened[kind] = true
		h.mu.Unlock()
		if twice {
			return http3.Fatal(http3.StreamCreationError, "stream-twice")
		}
	default: // to be ignored (RFC 9114 §6.2.3)
		http3.StopReading(q, http3.StreamCreationError)
		h.spend(http2.PriceReset)
		return nil
	}
	var bad *http3.Error
	if kind == http3.ControlStream {
		bad, err = h.control(q, r)
	} else {
		_ = q.SetReadDeadline(time.Time{})
		bad, err = h.table(kind, r)
	}
	switch {
	case bad != nil:
		return bad
	case h.q.Context().Err() != nil:
		return nil
	case errors.Is(err, io.EOF), http3.ResetByPeer(err):
		return http3.Fatal(http3.ClosedCriticalStream, "critical-stream")
	}
	return http3.Fatal(http3.MissingSettings, "settings-missing")
}

// table reads a stream of QPACK. Without a table the client's encoder has nothing to say but that the table has no size, and its decoder nothing at all:
// it may cancel streams, though, which is nothing to us.
func (h *quicSession) table(kind uint64, r *numbers) (*http3.Error, error) {
	for {
		b, err := r.byte()
		if err != nil {
			return nil, err
		}
		switch {
		case kind == http3.EncoderStream && b != 0x20: // set the capacity to 0
			return http3.Fatal(http3.EncoderStreamError, "encoder-stream"), nil
		case kind == http3.DecoderStream && b&0xc0 != 0x40: // stream cancellation
			return http3.Fatal(http3.DecoderStreamError, "decoder-stream"), nil
		case kind == http3.DecoderStream && b == 0x7f:
			for more := true; more; more = b&0x80 != 0 {
				if b, err = r.byte(); err != nil {
					return nil, err
				}
			}
		}
		h.spend(http2.PriceUnknown)
	}
}

// control reads the client's control stream.
func (h *quicSession) control(q *http3.ReceiveStream, r *numbers) (*http3.Error, error) {
	for first, least := true, uint64(1<<62); ; first = false {
		t, err := r.next()
		if err != nil {
			return nil, err
		}
		size, err := r.next()
		if err != nil {
			return nil, err
		}
		kind := http3.Type(t)
		switch {
		case first != (kind == http3.Settings):
			if first {
				return http3.Fatal(http3.MissingSettings, "settings-missing"), nil
			}
			return http3.Fatal(http3.FrameUnexpected, "settings-twice"), nil
		case kind == http3.Data, kind == http3.Headers, kind == http3.PushPromise, kind.OfHTTP2():
			return http3.Fatal(http3.FrameUnexpected, "control-frame"), nil
		case size > maxControlFrame:
			return http3.Fatal(http3.ExcessiveLoad, "control-frame-size"), nil
		}
		p := make([]byte, size)
		if err := r.full(p); err != nil {
			return nil, err
		}
		if bad := h.controlFrame(kind, p, &least); bad != nil {
			return bad, nil
		}
		if first {
			_ = q.SetReadDeadline(time.Time{})
		}
	}
}

func (h *quicSession) controlFrame(kind http3.Type, p []byte, least *uint64) *http3.Error {
	h.spend(http2.PriceUnknown)
	switch kind {
	case http3.Settings:
		return http3.CheckSettings(p)
	case http3.GoAway, http3.MaxPushID, http3.CancelPush:
		v, n := http3.ParseNumber(p)
		switch {
		case n == 0 || n != len(p):
			return http3.Fatal(http3.FrameError, "control-frame")
		case kind == http3.CancelPush: // nothing was promised
			return http3.Fatal(http3.IDError, "push-id")
		case kind == http3.GoAway && v > *least:
			return http3.Fatal(http3.IDError, "goaway-id")
		case kind == http3.GoAway:
			*least = v
		}
	}
	return nil
}

// numbers reads a stream in small pieces.
type numbers struct {
	q   io.Reader
	buf [512]byte
	has []byte
}

func (r *numbers) byte() (byte, error) {
	for len(r.has) == 0 {
		n, err := r.q.Read(r.buf[:])
		if r.has = r.buf[:n]; n == 0 && err != nil {
			return 0, err
		}
	}
	b := r.has[0]
	r.has = r.has[1:]
	return b, nil
}

func (r *numbers) next() (uint64, error) {
	var b [8]byte
	for i := range b {
		var err error
		if b[i], err = r.byte(); err != nil {
			return 0, err
		}
		if v, n := http3.ParseNumber(b[:i+1]); n > 0 {
			return v, nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}

func (r *numbers) full(p []byte) (err error) {
	for i := range p {
		if p[i], err = r.byte(); err != nil {
			return err
		}
	}
	return nil
}
