package wire

import (
	"math"

	"github.com/sentinel-stack/sentinel/protocol"
)

// webSocketFrame writes a message of a WebSocket. Its opcode is a word.
func (e *encoder) webSocketFrame(f *protocol.WebSocketFrame) {
	e.within(len(f.Data), protocol.MaxChunk)
	e.mapStart(8 + e.greased())
	e.correlation(f.CorrelationID)
	e.key("opcode")
	e.str(f.Opcode.String())
	e.key("data")
	e.data(f.Data)
	e.key("client_to_server")
	e.bool(f.FromClient)
	e.key("frame_index")
	e.uint(f.Index)
	e.key("fin")
	e.bool(!f.Fragment)
	e.key("route_id")
	e.strOrNull(f.RouteID)
	e.key("client_ip")
	e.strOrNull(f.ClientIP)
	e.writeGrease()
	e.mapEnd()
}

func (d *decoder) webSocketFrame(f *protocol.WebSocketFrame) {
	known := false
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			f.CorrelationID = d.ownCorrelation()
		case "opcode":
			f.Opcode, known = protocol.ParseOpcode(d.view())
		case "data":
			f.Data = d.chunk()
		case "client_to_server":
			f.FromClient = d.bool()
		case "frame_index":
			f.Index = uint64(d.int(0, math.MaxInt64))
		case "fin":
			f.Fragment = d.peek() != kindNull && !d.bool()
		case "route_id":
			f.RouteID = string(d.view())
		case "client_ip":
			f.ClientIP = string(d.view())
		default:
			d.skip()
		}
	}
	if f.Data == nil {
		f.Data = []byte{} // absent and null are no data
	}
	d.require(f.CorrelationID != "" && known)
}

// socketVerdict writes what becomes of a message: a word, or an object with exactly one key.
func (e *encoder) socketVerdict(v *protocol.SocketVerdict) {
	if v == nil {
		e.null()
		return
	}
	switch v.Action {
	case protocol.SocketReplace:
		e.within(len(v.Data), protocol.MaxChunk)
		e.wrapped("replace", 1)
		e.key("data")
		e.data(v.Data)
	case protocol.SocketClose:
		e.within(len(v.Reason), protocol.MaxCloseReason)
		e.wrapped("close", 2)
		e.key("code")
		e.int(int64(v.Code))
		e.key("reason")
		e.str(v.Reason)
	default:
		e.str(v.Action.String())
		return
	}
	e.mapEnd()
	e.mapEnd()
}

// socketVerdict reads it. What is not known is malformed: skipping it would let a message pass that was not to.
func (d *decoder) socketVerdict() *protocol.SocketVerdict {
	if d.peek() == kindNull {
		d.skip()
		return nil
	}
	v := &protocol.SocketVerdict{}
	if d.isText() {
		switch string(d.view()) {
		case "allow":
		case "drop":
			v.Action = protocol.SocketDrop
		default:
			d.fail(ErrMalformed)
		}
		return v
	}
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			d.require(v.Action != protocol.SocketAllow)
			return v
		}
		d.require(v.Action == protocol.SocketAllow)
		switch string(k) {
		case "replace":
			v.Action = protocol.SocketReplace
			d.socketReplace(v)
		case "close":
			v.Action = protocol.SocketClose
			d.socketClose(v)
		default:
			d.fail(ErrMalformed)
		}
	}
}

func (d *decoder) socketReplace(v *protocol.SocketVerdict) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		if string(k) != "data" {
			d.skip()
			continue
		}
		v.Data = d.chunk()
	}
	d.require(v.Data != nil)
}

func (d *decoder) socketClose(v *protocol.SocketVerdict) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "code":
			v.Code = int(d.int(0, math.MaxUint16))
		case "reason":
			v.Reason = d.str()
		default:
			d.skip()
		}
	}
	if len(v.Reason) > protocol.MaxCloseReason {
		d.fail(ErrLimit)
	}
	d.require(v.Code != 0)
}
