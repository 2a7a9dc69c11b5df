// Package wire turns protocol messages into frames and back.
//
// A frame is a big-endian uint32 length, a type byte and a payload; the length counts type and payload. Payloads are JSON or msgpack, as negotiated; both
// are maps with the same keys and one function per message writes or reads either. Decoders take untrusted bytes: they never panic, never allocate
// in proportion to a length that is only claimed, and refuse what is beyond the limits of package protocol.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// HeaderLen is the number of bytes before a payload.
const HeaderLen = lengthLen + 1

const lengthLen = 4

// Format says how a message is written.
type Format struct {
	Encoding protocol.Encoding // "" is JSON
	Grease   bool              // add an optional key that no peer knows
}

// ErrTooLong is returned for a message beyond a limit of the protocol. It is not sent, because it would cost the connection.
var ErrTooLong = errors.New("message is beyond a limit of the protocol")

// AppendFrame appends the frame of message m, a pointer to a message type of package protocol or to a view of this package, to dst.
// Handshakes, Cancel and Ping are JSON whatever the format says. When it fails, dst is returned as it was.
func AppendFrame(dst []byte, f Format, m any) ([]byte, error) {
	mark := len(dst)
	e := encoder{b: append(dst, 0, 0, 0, 0, 0), msgpack: f.Encoding == protocol.MsgPack, grease: f.Grease}
	t := e.message(m)
	n := len(e.b) - mark - 4
	if t == 0 {
		return dst[:mark], fmt.Errorf("cannot encode %T", m)
	}
	if n > protocol.MaxFrame || e.tooLong {
		return dst[:mark], ErrTooLong
	}
	binary.BigEndian.PutUint32(e.b[mark:], uint32(n))
	e.b[mark+4] = byte(t)
	return e.b, nil
}

// AppendRaw appends a frame with a ready payload to dst. The payload must fit.
func AppendRaw(dst []byte, t protocol.FrameType, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)+1))
	return append(append(dst, byte(t)), payload...)
}

func (e *encoder) message(m any) protocol.FrameType {
	switch m := m.(type) {
	case *RequestView:
		e.requestHeaders(m)
		return protocol.TypeRequestHeaders
	case *protocol.RequestHeaders:
		e.requestHeaders(viewRequest(m))
		return protocol.TypeRequestHeaders
	case *ResponseView:
		e.responseHeaders(m.CorrelationID, m.Status, m.Headers)
		return protocol.TypeResponseHeaders
	case *protocol.ResponseHeaders:
		e.responseHeaders(m.CorrelationID, m.Status, (*lines)(&m.Headers))
		return protocol.TypeResponseHeaders
	case *RequestBody:
		e.bodyChunk((*protocol.BodyChunk)(m), "bytes_received")
		return protocol.TypeRequestBodyChunk
	case *ResponseBody:
		e.bodyChunk((*protocol.BodyChunk)(m), "bytes_sent")
		return protocol.TypeResponseBodyChunk
	case *protocol.WebSocketFrame:
		e.webSocketFrame(m)
		return protocol.TypeWebSocketFrame
	case *protocol.RequestComplete:
		e.requestComplete(m)
		return protocol.TypeRequestComplete
	case *protocol.Configure:
		e.configure(m)
		return protocol.TypeConfigure
	case *protocol.Response:
		e.response(m)
		return protocol.TypeResponse
	case *protocol.HealthStatus:
		e.health(m)
		return protocol.TypeHealthStatus
	case *protocol.MetricsReport:
		e.metrics(m)
		return protocol.TypeMetricsReport
	case *protocol.FlowControl:
		e.flow(m)
		return protocol.TypeFlowControl
	}
	e.msgpack = false
	switch m := m.(type) {
	case *protocol.HandshakeRequest:
		e.handshakeRequest(m)
		return protocol.TypeHandshakeRequest
	case *protocol.HandshakeResponse:
		e.handshakeResponse(m)
		return protocol.TypeHandshakeResponse
	case *protocol.Cancel:
		e.cancel(m)
		return protocol.TypeCancel
	case *protocol.Ping:
		e.ping(m)
		return protocol.TypePing
	}
	return 0
}

// RequestBody is a chunk of a request body as an event.
type RequestBody protocol.BodyChunk

// ResponseBody is a chunk of a response body as an event.
type ResponseBody protocol.BodyChunk

// viewRequest makes a view of an event that exists as strings. What cannot be expressed as a view (an address or time that does not parse) is left out.
func viewRequest(r *protocol.RequestHeaders) *RequestView {
	t := &r.Metadata
	ip, _ := netip.ParseAddr(t.ClientIP)
	when, _ := time.Parse(time.RFC3339Nano, t.Timestamp)
	return &RequestView{CorrelationID: t.CorrelationID, RequestID: viewOf(t.RequestID), Client: netip.AddrPortFrom(ip, t.ClientPort), ServerName: t.ServerName,
		Protocol: t.Protocol, TLSVersion: t.TLSVersion, TLSCipher: t.TLSCipher, RouteID: t.RouteID, UpstreamID: t.UpstreamID, Time: when,
		Traceparent: viewOf(t.Traceparent), Method: viewOf(r.Method), URI: viewOf(r.URI), Headers: (*lines)(&r.Headers)}
}

// Decode reads the payload of a frame into m, a pointer to the message type of package protocol that belongs to the frame's type.
// m must be zero. After an error m is undefined and the connection should be closed.
func Decode(enc protocol.Encoding, payload []byte, m any) error {
	d := decoder{in: payload, msgpack: enc == protocol.MsgPack}
	what := ""
	switch m := m.(type) {
	case *protocol.RequestHeaders:
		what = "request headers"
		d.requestHeaders(m)
	case *protocol.ResponseHeaders:
		what = "response headers"
		d.responseHeaders(m)
	case *protocol.BodyChunk:
		what = "body chunk"
		d.bodyChunk(m)
	case *protocol.WebSocketFrame:
		what = "websocket frame"
		d.webSocketFrame(m)
	case *protocol.RequestComplete:
		what = "request complete"
		d.requestComplete(m)
	case *protocol.Configure:
		what = "configure"
		d.configure(m)
	case *protocol.Response:
		what = "response"
		d.response(m)
	case *protocol.HealthStatus:
		what = "health status"
		d.health(m)
	case *protocol.MetricsReport:
		what = "metrics report"
		d.metrics(m)
	case *protocol.FlowControl:
		what = "flow control"
		d.flow(m)
	default:
		return d.decodeJSON(m)
	}
	return wrap(what, d.end())
}

// decodeJSON reads the messages that are always JSON.
func (d *decoder) decodeJSON(m any) error {
	d.msgpack = false
	what := ""
	switch m := m.(type) {
	case *protocol.HandshakeRequest:
		what = "handshake request"
		d.handshakeRequest(m)
	case *protocol.HandshakeResponse:
		what = "handshake response"
		d.handshakeResponse(m)
	case *protocol.Cancel:
		what = "cancel"
		d.cancel(m)
	case *protocol.Ping:
		what = "ping"
		d.ping(m)
	default:
		return fmt.Errorf("cannot decode %T", m)
	}
	return wrap(what, d.end())
}

// DecodeResponse is Decode for a response whose correlation id is already known, so that an answer without text allocates nothing.
func DecodeResponse(enc protocol.Encoding, payload []byte, id string, r *protocol.Response) error {
	d := decoder{in: payload, msgpack: enc == protocol.MsgPack, id: id}
	d.response(r)
	return wrap("response", d.end())
}

// EventID returns the correlation id of an event or a response without decoding the rest, as a view of payload or nil when there is none.
// For a response without a top-level id it is the one in audit.custom.
func EventID(enc protocol.Encoding, payload []byte) []byte {
	d := decoder{in: payload, msgpack: enc == protocol.MsgPack}
	var inAudit []byte
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		switch {
		case !ok:
			return inAudit
		case string(k) == "correlation_id":
			if id := d.idView(); len(id) > 0 {
				return id
			}
		case string(k) == "audit":
			inAudit = d.auditID()
		default:
			d.skip()
		}
	}
}

func (d *decoder) auditID() (id []byte) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return id
		}
		if string(k) != "custom" {
			d.skip()
			continue
		}
		c := d.mapStart()
		for {
			k, ok := d.next(&c)
			if !ok {
				break
			}
			if string(k) == "correlation_id" && d.isText() {
				id = d.idView()
			} else {
				d.skip()
			}
		}
	}
}

// idView reads a correlation id as a view that stays good; one with escapes is copied.
func (d *decoder) idView() []byte {
	v, at, _ := d.span()
	if len(v) > protocol.MaxCorrelationID {
		d.fail(ErrLimit)
		return nil
	}
	if at < 0 && v != nil {
		return append([]byte(nil), v...)
	}
	return v
}
