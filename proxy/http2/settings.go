package http2

import "encoding/binary"

// SettingID is the number of a parameter (RFC 9113 §6.5.2).
type SettingID uint16

// The parameters.
const (
	HeaderTableSize       SettingID = 1
	EnablePush            SettingID = 2
	MaxConcurrentStreams  SettingID = 3
	InitialWindowSize     SettingID = 4
	MaxFrameSize          SettingID = 5
	MaxHeaderListSize     SettingID = 6
	EnableConnectProtocol SettingID = 8 // RFC 8441
)

// Setting is one parameter with its value.
type Setting struct {
	ID    SettingID
	Value uint32
}

// AppendSettings appends a SETTINGS frame.
func AppendSettings(dst []byte, settings ...Setting) []byte {
	dst = AppendHeader(dst, Settings, 0, 0, 6*len(settings))
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Value)
	}
	return dst
}

// AppendSettingsAck appends the confirmation that the peer's SETTINGS are in force.
func AppendSettingsAck(dst []byte) []byte { return AppendHeader(dst, Settings, FlagAck, 0, 0) }

// EachSetting calls f for every parameter of a SETTINGS payload in order, after checking it, until f returns an error.
func EachSetting(payload []byte, f func(Setting) *Error) *Error {
	for ; len(payload) >= 6; payload = payload[6:] {
		s := Setting{SettingID(binary.BigEndian.Uint16(payload)), binary.BigEndian.Uint32(payload[2:])}
		if err := s.check(); err != nil {
			return err
		}
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func (s Setting) check() *Error {
	switch {
	case (s.ID == EnablePush || s.ID == EnableConnectProtocol) && s.Value > 1:
		return connectionError(ProtocolError, "setting-value")
	case s.ID == InitialWindowSize && s.Value > MaxWindow:
		return connectionError(FlowControlError, "setting-value")
	case s.ID == MaxFrameSize && (s.Value < MaxFrame || s.Value > 1<<24-1):
		return connectionError(ProtocolError, "setting-value")
	}
	return nil
}
