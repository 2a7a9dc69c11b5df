package server

import (
	"bytes"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

var (
	nameSocketVersion   = []byte("Sec-WebSocket-Version")
	valueSocketVersion  = []byte("13")
	nameSocketProtocols = "Sec-WebSocket-Protocol"
)

// Refusals of handshakes that the configuration does not allow.
var (
	errOrigin      = &websocket.Refusal{Status: 403, Code: "websocket_origin"}
	errSubprotocol = &websocket.Refusal{Status: 400, Code: "websocket_subprotocol"}
)

// welcome judges the handshake of a client. When it returns false the client has got its answer.
func (c *conn) welcome(w *work) bool {
	r, req := w.route, &w.req
	if r.WebSocket == nil || r.Pool == nil {
		c.refuse(w, 403, "websocket_not_allowed")
		return false
	}
	refusal := websocket.CheckRequest(req.Fields)
	if refusal == nil && !c.originAllowed(w) {
		refusal = errOrigin
	}
	if refusal != nil {
		c.refuseSocket(w, refusal)
		return false
	}
	if limit, ok := c.admitSocket(w); !ok {
		c.refuseBusy(w, limit, "websocket_limit")
		return false
	}
	w.tunnel = true
	return true
}

// refuseSocket answers a bad handshake and names the version we speak (RFC 6455 §4.4).
func (c *conn) refuseSocket(w *work, r *websocket.Refusal) {
	w.refusal = r.Code
	w.x.BeginResponse(r.Status, nil)
	h := w.x.ResponseHeader()
	h.AddView(http1.Field{Name: nameContentType, Value: valueJSON, ID: http1.ContentType})
	h.AddView(http1.Field{Name: nameSocketVersion, Value: valueSocketVersion, ID: http1.SecWebSocketVersion})
	c.answer(w, r.Status, h, c.errorBody(w, r.Status))
}

// originAllowed judges the page that asks (RFC 6455 §10.2). Browsers always say which one it is; who says nothing is none. Several origins are none of ours.
func (c *conn) originAllowed(w *work) bool {
	allowed := w.route.WebSocket.Origins
	if len(allowed) == 0 {
		return true
	}
	named := 0
	good := false
	for i := range w.req.Fields {
		if f := &w.req.Fields[i]; f.ID == http1.Origin {
			named++
			good = false
			for _, o := range allowed {
				good = good || o == "self" && c.isSelf(f.Value, w.req.Host) || http1.EqualFold(f.Value, o)
			}
		}
	}
	return named == 0 || named == 1 && good
}

// isSelf reports whether an origin is that of the host which was asked, over the scheme it was asked by.
func (c *conn) isSelf(origin, host []byte) bool {
	scheme, authority, ok := bytes.Cut(origin, []byte("://"))
	return ok && string(bytes.ToLower(scheme)) == c.scheme() && len(host) > 0 && bytes.EqualFold(authority, host)
}

// admitSocket takes a place among the WebSockets of the route and of the client.
func (c *conn) admitSocket(w *work) (limit observe.Limit, ok bool) {
	ws, m := w.route.WebSocket, &w.route.Metrics.Sockets
	m.Open.Add(1)
	w.holds.socket = &m.Open
	if ws.MaxOpen > 0 && m.Open.Load() > int64(ws.MaxOpen) {
		return observe.LimitSockets, false
	}
	if ws.MaxPerClient > 0 {
		who := tallied{route: w.route.Metrics, client: w.client}
		if !c.s.atWork.take(who, ws.MaxPerClient) {
			return observe.LimitClientSockets, false
		}
		w.holds.sockets = who
	}
	return 0, true
}

// offer makes of the request's header what the upstream is offered: subprotocols that are allowed, and no extensions when messages are looked at, because they change what frames
// mean. It comes after the filters and the rules of the route, which might have put something there.
func (c *conn) offer(w *work) *websocket.Refusal {
	h := w.x.RequestHeader()
	if w.route.looksAtMessages() {
		h.Remove("Sec-WebSocket-Extensions")
	}
	allowed := w.route.WebSocket.Subprotocols
	if len(allowed) == 0 {
		return nil
	}
	kept, asked := websocket.KeepProtocols(h.Fields(), allowed)
	if !asked {
		return nil
	}
	if len(kept) == 0 {
		return errSubprotocol
	}
	if err := h.Set(nameSocketProtocols, string(kept)); err != nil {
		return errSubprotocol
	}
	return nil
}
