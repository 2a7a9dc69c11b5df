package ready

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReceiverTellsTheSender(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "rdy")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	got := make(chan Report, 10)
	r, err := NewReceiver(filepath.Join(dir, "n"), func(rep Report) { got <- rep })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.Dial("unixgram", r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		msg  string
		want Report
	}{
		{"READY=1\nSTATUS=fine", Report{PID: os.Getpid(), Ready: true, Status: "fine"}},
		{"WATCHDOG=1\n", Report{PID: os.Getpid(), Watchdog: true}},
		{"STOPPING=1\nFDSTORE=1\nnonsense", Report{PID: os.Getpid(), Stopping: true}},
		{"READY=0", Report{PID: os.Getpid()}},
	} {
		io.WriteString(c, tt.msg)
		select {
		case rep := <-got:
			if rep != tt.want {
				t.Errorf("%q: %+v", tt.msg, rep)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%q: nothing came", tt.msg)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	status := 200
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		w.WriteHeader(status)
	}))
	defer web.Close()
	dead, _ := net.Listen("tcp", "127.0.0.1:0")
	dead.Close()
	address := web.Listener.Addr().String()
	run := (*exec.Cmd).Run
	tests := []struct {
		name  string
		probe Probe
		ok    bool
	}{
		{"http", HTTP(address + "/"), true},
		{"http url", HTTP("http://" + address), true},
		{"a redirect is no answer", HTTP(address + "/moved"), false},
		{"http refused", HTTP(dead.Addr().String()), false},
		{"tcp", TCP(address), true},
		{"tcp refused", TCP(dead.Addr().String()), false},
		{"exec", Exec([]string{"/bin/true"}, nil, run), true},
		{"exec fails", Exec([]string{"/bin/sh", "-c", "echo why >&2; exit 3"}, nil, run), false},
		{"exec of nothing", Exec(nil, nil, run), false},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if err := tt.probe(ctx, 0); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		} else if tt.name == "exec fails" && !strings.Contains(err.Error(), "why") {
			t.Errorf("%s does not say why: %v", tt.name, err)
		}
		cancel()
	}
}

func TestWaitTriesUntilItWorksOrTheTimeIsOver(t *testing.T) {
	t.Parallel()
	n := 0
	err := Wait(context.Background(), 1, func(context.Context, int) error {
		if n++; n < 4 {
			return io.EOF
		}
		return nil
	})
	if err != nil || n != 4 {
		t.Errorf("%v after %d", err, n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := Wait(ctx, 1, func(context.Context, int) error { return io.EOF }); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// agent answers one handshake.
func agent(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rdy")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done; os.RemoveAll(dir) })
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			answer(c)
			c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	reply := func(ok bool) func(net.Conn) {
		return func(c net.Conn) {
			kind, payload, err := wire.NewReader(c).Next()
			var req protocol.HandshakeRequest
			if err != nil || kind != protocol.TypeHandshakeRequest || wire.Decode(protocol.JSON, payload, &req) != nil || len(req.SupportedVersions) == 0 {
				t.Errorf("not a handshake: %v %v %v", kind, err, req)
			}
			frame, _ := wire.AppendFrame(nil, wire.Format{}, &protocol.HandshakeResponse{Version: protocol.Version, Success: ok, Error: "busy"})
			c.Write(frame)
			io.Copy(io.Discard, c)
		}
	}
	tests := []struct {
		name   string
		answer func(net.Conn)
		ok     bool
	}{
		{"accepted", reply(true), true},
		{"refused", reply(false), false},
		{"closed", func(net.Conn) {}, false},
		{"garbage", func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, false},
		{"silent", func(c net.Conn) { io.Copy(io.Discard, c) }, false},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		if err := Handshake(agent(t, tt.answer))(ctx, os.Getpid()); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		cancel()
	}
}

// TestHandshakeOfAnotherProcessDoesNotCount: during a replacement the old process answers on the same socket.
func TestHandshakeOfAnotherProcessDoesNotCount(t *testing.T) {
	t.Parallel()
	socket := agent(t, func(c net.Conn) {
		wire.NewReader(c).Next()
		frame, _ := wire.AppendFrame(nil, wire.Format{}, &protocol.HandshakeResponse{Version: protocol.Version, Success: true})
		c.Write(frame)
		io.Copy(io.Discard, c)
	})
	other := exec.Command("/bin/sleep", "100")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := Handshake(socket)(ctx, other.Process.Pid); err == nil || !strings.Contains(err.Error(), "older process") {
		t.Errorf("%v", err)
	}
	if err := Handshake(socket)(ctx, os.Getpid()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("READY=1\nSTATUS=x")
	f.Add("WATCHDOG=1")
	f.Add("=\n=\nREADY")
	f.Fuzz(func(t *testing.T, msg string) {
		r := parse(msg)
		if r.Ready && !strings.Contains(msg, "READY=1") || strings.Contains(r.Status, "\n") {
			t.Errorf("%+v", r)
		}
	})
}
