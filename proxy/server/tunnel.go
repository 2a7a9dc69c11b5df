package server

import (
	"bytes"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
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
	if c.send(w.out, nil) != nil {
		return clientGone, false
	}
	fromClient := bytes.Clone(w.in[w.start+w.headLen : w.end])
	fromUpstream := bytes.Clone(w.upIn[at:w.upEnd])
	c.shrink(w)
	w.x.Prolong(time.Now().Add(tunnelDeadline))
	c.expose(w.x)
	newSocket(c, w).run(fromClient, fromUpstream)
	c.expose(nil)
	return result{}, false
}

// tunnelDeadline stands for no deadline.
const tunnelDeadline = 100 * 365 * 24 * time.Hour

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
