package server

import (
	"errors"
	"io"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// upgrade handles 101 (Switching Protocols): when the client asked for it, both connections become a tunnel until one of them ends.
func (c *conn) upgrade(w *work, at int) (res result, reusable bool) {
	resp := &w.resp
	if !w.tunnel || resp.Upgrade == nil || !http1.EqualFold(resp.Upgrade, "websocket") {
		return protocolError("upstream_unasked_upgrade"), false
	}
	if refusal := websocket.CheckAnswer(w.x.RequestHeader().Fields(), resp.Fields); refusal != nil {
		return protocolError(refusal.Code), false
	}
	w.x.BeginResponse(101, resp.Fields)
	c.stick(w)
	c.editResponse(w, w.x.ResponseHeader())
	w.status = 101
	w.out = http1.AppendStatusLine(w.out[:0], 101)
	w.out = http1.AppendEndToEnd(w.out, w.x.ResponseHeader().Fields())
	w.out = append(w.out, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	w.keep, w.begun = false, true
	if c.send(w.out, w.upIn[at:w.upEnd]) != nil {
		return clientGone, false
	}
	w.sent = int64(w.upEnd - at)
	if early := w.in[w.start+w.headLen : w.end]; len(early) > 0 {
		w.received = int64(len(early))
		if w.up.write(early, nil) != nil {
			return result{kind: observe.FailureWrite, code: "upstream_write"}, false
		}
	}
	c.shrink(w)
	c.tunnel(w)
	return result{}, false
}

// shrink lets go of the read buffers for the life of a tunnel, which may be long: only the request's head is kept, for the log.
func (c *conn) shrink(w *work) {
	head := append([]byte(nil), w.in[w.start:w.start+w.headLen]...)
	path := append([]byte(nil), w.facts.Path...)
	w.in, w.upIn, w.start, w.end, w.upEnd = head, nil, 0, 0, 0
	w.req.Reset()
	w.resp.Reset()
	_, _ = w.req.Parse(head, &w.gen.head) // it was accepted before
	w.facts.Path = path
	w.x.Shrink(path)
	c.s.dropBig(w)
	w.spent = true
}

// tunnel moves bytes both ways until both sides have ended, one has failed, or the sweeper ends it.
func (c *conn) tunnel(w *work) {
	var up int64
	idle := int64(w.route.Timeouts.TunnelIdle)
	done := make(chan struct{})
	go func() {
		defer close(done)
		up = c.pump(&w.up, &c.wire, idle)
	}()
	down := c.pump(&c.wire, &w.up, idle)
	<-done
	if c.s.now() > c.deadline.Load() { // the sweeper ended it: nothing else lets the deadline pass
		w.refusal = "tunnel_idle"
	}
	w.sent += down
	w.received += up
}

// pump copies from one wire to the other. It holds a buffer only while there is something to copy. The end of the stream is passed on as such; a failure ends
// the other direction as well. What moves in one direction keeps the other one open, too.
func (c *conn) pump(to, from *wire, idle int64) (n int64) {
	for {
		c.arm(stageTunnel, c.s.now()+idle)
		err := from.await()
		if err == nil {
			var k int
			k, err = c.pumpOnce(to, from)
			n += int64(k)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && to.closeWrite() == nil:
			return n
		}
		_ = to.tcp.SetDeadline(past)
		_ = from.tcp.SetDeadline(past)
		return n
	}
}

func (c *conn) pumpOnce(to, from *wire) (int, error) {
	buf, _ := c.s.large.Get().(*[largeBuffer]byte)
	if buf == nil {
		buf = new([largeBuffer]byte)
	}
	defer c.s.large.Put(buf)
	n, err := from.readSome(buf[:])
	if n == 0 {
		return 0, err
	}
	return n, to.write(buf[:n], nil)
}
