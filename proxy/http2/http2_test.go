package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	long := bytes.Repeat([]byte("b"), MaxFrame+100)
	stream := AppendSettings(nil, Setting{MaxConcurrentStreams, 7}, Setting{InitialWindowSize, 99})
	stream = AppendSettingsAck(stream)
	stream = AppendHeaders(stream, 3, long, true)
	stream = AppendData(stream, 3, []byte("data"), false)
	stream = AppendRST(stream, 3, Cancel)
	stream = AppendGoAway(stream, 5, EnhanceYourCalm)
	stream = AppendWindowUpdate(stream, 0, 1000)
	stream = AppendPingAck(stream, []byte("12345678"))
	var got []string
	for len(stream) > 0 {
		var f Frame
		n, err := ParseFrame(stream, &f)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		for cut := range n {
			if k, err := ParseFrame(stream[:cut], &Frame{}); k != 0 || err != nil {
				t.Fatalf("%d of %d bytes: %d %v", cut, n, k, err)
			}
			if cut == 40 {
				break
			}
		}
		got = append(got, fmt.Sprintf("%d/%#x/%d/%d/%d/%d/%d", f.Type, f.Flags, f.Stream, len(f.Payload), f.Code, f.Last, f.Increment))
		stream = stream[n:]
	}
	want := "4/0x0/0/12/0/0/0 4/0x1/0/0/0/0/0 1/0x1/3/16384/0/0/0 9/0x4/3/100/0/0/0 0/0x0/3/4/0/0/0 3/0x0/3/0/8/0/0 7/0x0/0/0/11/5/0 8/0x0/0/0/0/0/1000 6/0x1/0/8/0/0/0"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestBrokenFrames(t *testing.T) {
	for name, c := range map[string]struct {
		frame  []byte
		code   Code
		stream uint32
	}{
		"too long":                    {AppendHeader(nil, Data, 0, 1, MaxFrame+1), FrameSizeError, 0},
		"data on the connection":      {AppendData(nil, 0, nil, false), ProtocolError, 0},
		"settings on a stream":        {AppendHeader(nil, Settings, 0, 1, 0), ProtocolError, 0},
		"settings in pieces":          {append(AppendHeader(nil, Settings, 0, 0, 5), 1, 2, 3, 4, 5), FrameSizeError, 0},
		"settings ack with a payload": {append(AppendHeader(nil, Settings, FlagAck, 0, 6), 1, 2, 3, 4, 5, 6), FrameSizeError, 0},
		"short ping":                  {append(AppendHeader(nil, Ping, 0, 0, 4), 1, 2, 3, 4), FrameSizeError, 0},
		"push":                        {AppendHeader(nil, PushPromise, 0, 1, 0), ProtocolError, 0},
		"padding":                     {append(AppendHeader(nil, Data, FlagPadded, 1, 2), 2, 0), ProtocolError, 0},
		"padding without a length":    {AppendHeader(nil, Data, FlagPadded, 1, 0), ProtocolError, 0},
		"priority too short":          {append(AppendHeader(nil, Headers, FlagPriority, 1, 3), 1, 2, 3), FrameSizeError, 0},
		"depends on itself":           {append(AppendHeader(nil, Priority, 0, 3, 5), 0, 0, 0, 3, 1), ProtocolError, 3},
		"short priority":              {append(AppendHeader(nil, Priority, 0, 3, 4), 0, 0, 0, 1), FrameSizeError, 3},
		"short goaway":                {append(AppendHeader(nil, GoAway, 0, 0, 4), 0, 0, 0, 1), FrameSizeError, 0},
	} {
		n, err := ParseFrame(c.frame, &Frame{})
		if err == nil || err.Code != c.code || err.Stream != c.stream || c.stream != 0 && n != len(c.frame) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	for _, s := range []Setting{{EnablePush, 2}, {InitialWindowSize, 1 << 31}, {MaxFrameSize, 100}, {MaxFrameSize, 1 << 24}} {
		payload := AppendSettings(nil, s)[FrameHeader:]
		if EachSetting(payload, func(Setting) *Error { return nil }) == nil {
			t.Errorf("%v is accepted", s)
		}
	}
}

func TestWindows(t *testing.T) {
	s := NewSendWindow(100)
	s.Take(80)
	if s.Grow(-50); s.Left() != 0 { // overdrawn by 30
		t.Error(s.Left())
	}
	if s.Grow(31); s.Left() != 1 {
		t.Error(s.Left())
	}
	if s.Grow(MaxWindow) {
		t.Error("grew beyond the largest window")
	}
	r := NewReceiveWindow(100)
	if !r.Take(60) || r.Give(49) != 0 || r.Give(1) != 50 || !r.Take(90) || r.Take(1) {
		t.Errorf("%+v", r)
	}
	r = NewReceiveWindow(100)
	if r.Enlarge(250) != 150 || r.Enlarge(10) != 0 || !r.Take(250) || r.Take(1) {
		t.Errorf("%+v", r)
	}
}

func TestBudgetComesBack(t *testing.T) {
	const second = 1_000_000_000
	b := Budget{Size: 10}
	now := int64(5 * second)
	for i := range 10 {
		if !b.Spend(PricePing, now) {
			t.Fatal(i)
		}
	}
	if b.Spend(PricePing, now) {
		t.Error("more than there is")
	}
	if now += 2 * second; !b.Spend(PricePing, now) || b.Spend(PricePing, now) { // one was owed, two came back
		t.Error("after two seconds")
	}
	if now += 100 * second; !b.Spend(10*PricePing, now) || b.Spend(1, now) {
		t.Error("no more than its size comes back")
	}
}

// What AppendField packs, the decoder unpacks.
func TestFieldsComeOutAsTheyWentIn(t *testing.T) {
	d := NewDecoder(1<<20, 1000)
	fields := []http1.Field{}
	for name := range staticNames {
		fields = append(fields, http1.Field{Name: []byte(name), Value: []byte("v")})
	}
	for _, n := range []int{0, 1, 126, 127, 128, 254, 255, 16383, 20000} {
		fields = append(fields, http1.Field{Name: []byte("X-Long-Name-" + strings.Repeat("n", n%300)), Value: bytes.Repeat([]byte("v"), n)})
	}
	block := AppendStatus(AppendStatus(nil, 200), 299)
	for _, f := range fields {
		block = AppendField(block, f.Name, f.Value)
	}
	for len(block) > 0 {
		n := min(len(block), 1000)
		if err := d.Write(block[:n]); err != nil {
			t.Fatal(err)
		}
		block = block[n:]
	}
	got, tooLarge, err := d.End()
	if err != nil || tooLarge || len(got) != len(fields)+2 || got[0].Value != "200" || got[1].Value != "299" {
		t.Fatal(len(got), tooLarge, err)
	}
	for i, f := range fields {
		if g := got[i+2]; g.Name != strings.ToLower(string(f.Name)) || g.Value != string(f.Value) {
			t.Errorf("%s: %.40s: %.40s", f.Name, g.Name, g.Value)
		}
	}
}

func TestHeadOfARequest(t *testing.T) {
	block := []byte(nil)
	for _, f := range [][2]string{{":method", "POST"}, {":path", "/a?b"}, {":scheme", "https"}, {":authority", "h:1"}, {"cookie", "a=1"}, {"accept", "x"}, {"cookie", "b=2"}, {"te", "trailers"}, {"host", "H:1"}} {
		block = AppendField(block, []byte(f[0]), []byte(f[1]))
	}
	read := func() Request {
		d := NewDecoder(1000, 100)
		if err := d.Write(block); err != nil {
			t.Fatal(err)
		}
		fields, _, err := d.End()
		if err != nil {
			t.Fatal(err)
		}
		r, err := ReadRequest(1, fields)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := read()
	want := "POST /a?b HTTP/1.1\r\nhost: h:1\r\naccept: x\r\ncookie: a=1; b=2\r\n"
	if got := string(r.AppendHead(nil, true)); got != want+"\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(r.AppendHead(nil, false)); got != want+"transfer-encoding: chunked\r\n\r\n" {
		t.Errorf("%q", got)
	}
	block = AppendField(block, []byte("content-length"), []byte("5"))
	r = read()
	if got := string(r.AppendHead(nil, false)); got != want[:len(want)-len("cookie: a=1; b=2\r\n")]+"content-length: 5\r\ncookie: a=1; b=2\r\n\r\n" || r.ContentLength != 5 {
		t.Errorf("%q", got)
	}
}
