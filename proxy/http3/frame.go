package http3

import "github.com/quic-go/quic-go/quicvarint"

// Frame is the header of a frame.
type Frame struct {
	Type   Type
	Length uint64
}

// ParseFrame reads a frame's header at the start of b; n = 0 asks for more.
func ParseFrame(b []byte) (f Frame, n int) {
	t, n1 := ParseNumber(b)
	if n1 == 0 {
		return f, 0
	}
	l, n2 := ParseNumber(b[n1:])
	if n2 == 0 {
		return f, 0
	}
	return Frame{Type(t), l}, n1 + n2
}

// ParseNumber reads a variable-length integer (RFC 9000 §16); n = 0 asks for more.
func ParseNumber(b []byte) (v uint64, n int) {
	v, n, err := quicvarint.Parse(b)
	if err != nil {
		return 0, 0
	}
	return v, n
}

// AppendNumber appends one. v is below 2^62.
func AppendNumber(dst []byte, v uint64) []byte { return quicvarint.Append(dst, v) }

// AppendFrame appends a frame.
func AppendFrame(dst []byte, t Type, payload []byte) []byte {
	return append(AppendNumber(AppendNumber(dst, uint64(t)), uint64(len(payload))), payload...)
}

// MaxStreamID is what a first GOAWAY says: the last number a client's request can have.
const MaxStreamID = 1<<62 - 4

// AppendGoAway appends a GOAWAY frame: requests from id on are not served.
func AppendGoAway(dst []byte, id uint64) []byte {
	return AppendFrame(dst, GoAway, AppendNumber(nil, id))
}

// Settings that we send (RFC 9114 §7.2.4.1, RFC 9220 §3); those of QPACK keep their 0.
const (
	settingMaxFieldSection = 0x6
	settingExtendedConnect = 0x8
)

// AppendGreeting begins our control stream.
func AppendGreeting(dst []byte, maxFields int) []byte {
	var p []byte
	p = AppendNumber(AppendNumber(p, settingMaxFieldSection), uint64(maxFields))
	p = AppendNumber(AppendNumber(p, settingExtendedConnect), 1)
	return AppendFrame(AppendNumber(dst, ControlStream), Settings, p)
}

// CheckSettings judges the payload of a SETTINGS frame. Nothing in it changes what we do: we push nothing, send small heads and use no table.
func CheckSettings(p []byte) *Error {
	seen := map[uint64]bool{}
	for len(p) > 0 {
		id, n := ParseNumber(p)
		v, m := ParseNumber(p[n:])
		if n == 0 || m == 0 {
			return Fatal(FrameError, "settings")
		}
		p = p[n+m:]
		switch {
		case seen[id]:
			return Fatal(SettingsError, "setting-twice")
		case id == 0, id >= 2 && id <= 5, (id == settingExtendedConnect || id == 0x33) && v > 1: // those of HTTP/2 mean a confusion
			return Fatal(SettingsError, "setting")
		}
		seen[id] = true
	}
	return nil
}

// OfHTTP2 reports whether a type belongs to HTTP/2 and must not be sent here (RFC 9114 §7.2.8).
func (t Type) OfHTTP2() bool { return t == 2 || t == 6 || t == 8 || t == 9 }

// OfControl reports whether a frame of this type belongs on control streams only, or is never a client's.
func (t Type) OfControl() bool {
	switch t {
	case CancelPush, Settings, PushPromise, GoAway, MaxPushID:
		return true
	}
	return false
}
