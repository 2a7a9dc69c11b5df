package server

import (
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

var (
	nameSocketVersion  = []byte("Sec-WebSocket-Version")
	valueSocketVersion = []byte("13")
)

// refuseSocket answers a bad handshake and names the version we speak (RFC 6455 §4.4).
func (c *conn) refuseSocket(w *work, r *websocket.Refusal) {
	w.refusal = r.Code
	w.x.BeginResponse(r.Status, nil)
	h := w.x.ResponseHeader()
	h.AddView(http1.Field{Name: nameContentType, Value: valueJSON, ID: http1.ContentType})
	h.AddView(http1.Field{Name: nameSocketVersion, Value: valueSocketVersion, ID: http1.SecWebSocketVersion})
	c.answer(w, r.Status, h, c.errorBody(w, r.Status))
}
