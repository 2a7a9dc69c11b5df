package wire

import (
	"encoding/binary"

	"github.com/sentinel-stack/sentinel/protocol"
)

// transcode copies one value of any kind from d to e, whatever their encodings: configuration is JSON for people and whatever was negotiated on the wire.
func transcode(d *decoder, e *encoder) {
	switch d.peek() {
	case kindNull:
		d.skip()
		e.null()
	case kindBool:
		e.bool(d.bool())
	case kindNumber:
		var n number
		if d.msgpack {
			n = d.msgNumber()
		} else {
			n = d.jsonNumber()
		}
		switch n.class {
		case 'i':
			e.int(n.i)
		case 'u':
			e.uint(n.u)
		default:
			e.float(n.f)
		}
	case kindString:
		e.bytesStr(d.view())
	case kindBinary:
		e.data(d.view())
	case kindList:
		at := e.openList()
		n := 0
		for l := d.listStart(); d.more(&l); n++ {
			transcode(d, e)
		}
		e.closeCounted(at, n, ']')
	case kindMap:
		at := e.openMap()
		n := 0
		for m := d.mapStart(); ; n++ {
			k, ok := d.next(&m)
			if !ok {
				break
			}
			e.foreignKey(string(k))
			transcode(d, e)
		}
		e.closeCounted(at, n, '}')
	default:
		d.fail(ErrMalformed)
	}
}

// openMap starts a map whose size is not known yet.
func (e *encoder) openMap() int {
	if !e.msgpack {
		e.mapStart(0)
		return 0
	}
	e.b = append(e.b, 0xdf, 0, 0, 0, 0)
	return len(e.b) - 4
}

// openList starts a list whose size is not known yet.
func (e *encoder) openList() int {
	if !e.msgpack {
		e.listStart(0)
		return 0
	}
	e.b = append(e.b, 0xdd, 0, 0, 0, 0)
	return len(e.b) - 4
}

func (e *encoder) closeCounted(at, n int, end byte) {
	if !e.msgpack {
		e.b, e.comma = append(e.b, end), true
		return
	}
	binary.BigEndian.PutUint32(e.b[at:], uint32(n))
}

// rawJSON writes JSON text as a value. The text must be valid (see ValidConfig); a broken one becomes null.
func (e *encoder) rawJSON(text []byte) {
	if len(text) == 0 {
		e.null()
		return
	}
	mark, comma := len(e.b), e.comma
	d := decoder{in: text}
	transcode(&d, e)
	if d.end() != nil {
		e.b, e.comma = e.b[:mark], comma
		e.null()
	}
}

// rawValue reads any value and returns it as JSON text; nil for null.
func (d *decoder) rawValue() []byte {
	if d.peek() == kindNull {
		d.skip()
		return nil
	}
	e := encoder{}
	transcode(d, &e)
	if d.err == nil && len(e.b) > protocol.MaxConfig {
		d.fail(ErrLimit)
	}
	if d.err != nil {
		return nil
	}
	return e.b
}

// ValidConfig reports whether text can be sent as a configuration: one JSON value within the bounds of the protocol, or nothing.
func ValidConfig(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if len(text) > protocol.MaxConfig {
		return wrap("configuration", ErrLimit)
	}
	d := decoder{in: text}
	d.skip()
	return wrap("configuration", d.end())
}
