package wire_test

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// TestLimits: at each limit a message is written and read; one beyond it is not written, and when somebody else writes it, not read.
func TestLimits(t *testing.T) {
	t.Parallel()
	text := func(n int) string { return strings.Repeat("x", n) }
	list := func(n int) (out []protocol.Header) {
		for i := range n {
			out = append(out, protocol.Header{Name: fmt.Sprint("n", i), Value: "v"})
		}
		return out
	}
	response := func(f func(*protocol.Verdict)) any {
		r := &protocol.Response{CorrelationID: "c", Verdict: protocol.Allow()}
		f(&r.Verdict)
		return r
	}
	for name, part := range map[string]struct {
		limit int
		make  func(n int) any
	}{
		"correlation id": {protocol.MaxCorrelationID, func(n int) any { return &protocol.RequestComplete{CorrelationID: text(n)} }},
		"header lines": {protocol.MaxHeaderLines, func(n int) any {
			return &protocol.ResponseHeaders{CorrelationID: "c", Status: 200, Headers: list(n)}
		}},
		"chunk": {protocol.MaxChunk, func(n int) any { return &wire.RequestBody{CorrelationID: "c", Data: make([]byte, n), TotalSize: -1} }},
		"header operations": {protocol.MaxHeaderOps, func(n int) any {
			return response(func(v *protocol.Verdict) {
				for range n {
					v.ResponseHeaders = append(v.ResponseHeaders, protocol.Remove("x"))
				}
			})
		}},
		"tags":    {protocol.MaxAuditItems, func(n int) any { return response(func(v *protocol.Verdict) { v.Audit.Tags = make([]string, n) }) }},
		"custom":  {protocol.MaxAuditItems, func(n int) any { return response(func(v *protocol.Verdict) { v.Audit.Custom = list(n) }) }},
		"routing": {protocol.MaxAuditItems, func(n int) any { return response(func(v *protocol.Verdict) { v.Routing = list(n) }) }},
		"series":  {protocol.MaxSeries, func(n int) any { return &protocol.MetricsReport{Counters: make([]protocol.Sample, n)} }},
		"labels":  {protocol.MaxEvents, func(n int) any { return &protocol.MetricsReport{Gauges: []protocol.Sample{{Labels: list(n)}}} }},
		"config":  {protocol.MaxConfig, func(n int) any { return &protocol.Configure{CorrelationID: "c", Config: []byte(`"` + text(n-2) + `"`)} }},
	} {
		for _, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
			frame, err := wire.AppendFrame(nil, wire.Format{Encoding: enc}, part.make(part.limit))
			if err != nil {
				t.Errorf("%s at the limit, %s: %v", name, enc, err)
				continue
			}
			if err := wire.Decode(enc, frame[wire.HeaderLen:], message(protocol.FrameType(frame[4]))); err != nil {
				t.Errorf("%s at the limit, %s: %v", name, enc, err)
			}
			kept := []byte("before")
			got, err := wire.AppendFrame(kept, wire.Format{Encoding: enc}, part.make(part.limit+1))
			if !errors.Is(err, wire.ErrTooLong) || string(got) != "before" {
				t.Errorf("%s beyond the limit, %s: %v", name, enc, err)
			}
		}
	}
}

// TestWriter: a peer that does not read holds no sender, costs bounded memory, and gets everything in order when it reads at last.
func TestWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	w := wire.NewWriter(ours)
	running := make(chan struct{})
	go func() { defer close(running); w.Run() }()
	sent := 0
	begin := time.Now()
	for {
		err := w.Send(wire.Format{}, &wire.RequestBody{CorrelationID: fmt.Sprint(sent), Data: make([]byte, 100_000)})
		if errors.Is(err, wire.ErrBacklog) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent++; sent > 1000 {
			t.Fatal("no bound")
		}
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("senders were held for %v", took)
	}
	r := wire.NewReader(theirs)
	for i := range sent {
		_, payload, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if id := string(wire.EventID(protocol.JSON, payload)); id != fmt.Sprint(i) {
			t.Fatalf("frame %d is %q", i, id)
		}
	}
	if err := w.Send(wire.Format{}, &protocol.Ping{}); err != nil {
		t.Errorf("after the peer has read: %v", err)
	}
	w.Close()
	<-running
	if err := w.Send(wire.Format{}, &protocol.Ping{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
