package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// probe is an agent that notes what Main does with it.
type probe struct {
	mu       sync.Mutex
	events   []string
	startErr error
}

func (p *probe) note(s string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, s)
	return nil
}

func (p *probe) seen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.events, " ")
}

func (p *probe) Name() string    { return "probe" }
func (p *probe) Version() string { return "4.5.6" }
func (p *probe) Request(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
	return protocol.Allow(), nil
}
func (p *probe) Start(context.Context, *slog.Logger) error { p.note("start"); return p.startErr }
func (p *probe) Close() error                              { return p.note("close") }
func (p *probe) Reopen() error                             { return p.note("reopen") }
func (p *probe) Configure(_ context.Context, c json.RawMessage) error {
	var v struct {
		Key string `json:"key"`
	}
	if err := DecodeConfig(c, &v); err != nil {
		return err
	}
	return p.note("configure:" + v.Key)
}

// buffer is a writer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func env(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

// notifySocket receives what an agent tells its supervisor.
func notifySocket(t *testing.T) (path string, next func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, func() string {
		b := make([]byte, 1024)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestMainLife(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "a.sock")
	config := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(config, []byte(`{"key":"k"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	notify, next := notifySocket(t)
	signals := make(chan os.Signal, 4)
	stderr := new(buffer)
	p := &probe{}
	code := make(chan int, 1)
	go func() {
		code <- run(p, program{args: []string{"--socket", socket, "--config-json", config}, stdout: new(buffer), stderr: stderr, signals: signals,
			getenv: env("NOTIFY_SOCKET", notify, "WATCHDOG_USEC", "20000", "SENTINEL_AGENT", "mine")})
	}()
	if got := next(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("first: %q", got)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("then: %q", got)
	}
	signals <- syscall.SIGUSR1
	for !strings.Contains(p.seen(), "reopen") {
		time.Sleep(time.Millisecond)
	}
	signals <- syscall.SIGTERM
	for got := next(); got != "STOPPING=1"; got = next() {
		if got != "WATCHDOG=1" {
			t.Errorf("%q before the end", got)
		}
	}
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d: %s", c, stderr)
	}
	if got := p.seen(); got != "start configure:k reopen close" {
		t.Errorf("agent saw %q", got)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("socket is left behind")
	}
	for line := range strings.Lines(stderr.String()) {
		var rec map[string]any
		if err := json.Unmarshal([]byte(line), &rec); err != nil || rec["agent"] != "mine" {
			t.Errorf("log line %q", line)
		}
	}
}

func TestMainRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"kye":"k"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	sock := func(name string) string { return filepath.Join(dir, name) }
	for name, part := range map[string]struct {
		args []string
		env  []string
		code int
		says string
	}{
		"version":          {[]string{"--version"}, nil, exitOK, "probe 4.5.6 (protocol 2)"},
		"help":             {[]string{"--help"}, nil, exitOK, "-socket"},
		"unknown flag":     {[]string{"--nope"}, nil, exitUsage, "nope"},
		"argument":         {[]string{"x"}, nil, exitUsage, `"x"`},
		"no socket":        {nil, nil, exitUsage, "no socket"},
		"bad level":        {[]string{"--socket", sock("l"), "--log-level", "loud"}, nil, exitUsage, "loud"},
		"bad format":       {[]string{"--socket", sock("f"), "--log-format", "xml"}, nil, exitUsage, "xml"},
		"bad config":       {[]string{"--socket", sock("c"), "--config-json", bad}, nil, exitConfig, "kye: unknown key (known: key)"},
		"no config":        {[]string{"--socket", sock("n"), "--config-json", bad + "x"}, nil, exitFailure, "no such file"},
		"file in the way":  {[]string{"--socket", bad}, nil, exitFailure, "no socket is in the way"},
		"no directory":     {[]string{"--socket", sock("no/such/dir")}, nil, exitFailure, "cannot listen"},
		"which descriptor": {nil, []string{"LISTEN_FDS", "2", "LISTEN_FDNAMES", "x:y"}, exitFailure, "none is named agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := new(buffer)
			code := run(&probe{}, program{args: part.args, getenv: env(part.env...), stdout: out, stderr: out, signals: nil})
			if code != part.code || !strings.Contains(out.String(), part.says) {
				t.Errorf("exit code %d, want %d; says %q, want %q in it", code, part.code, out, part.says)
			}
		})
	}
}

func TestMainStartFails(t *testing.T) {
	t.Parallel()
	out := new(buffer)
	p := &probe{startErr: errors.New("no database")}
	if code := run(p, program{args: []string{"--socket", filepath.Join(t.TempDir(), "s")}, getenv: env(), stdout: out, stderr: out}); code != exitFailure || !strings.Contains(out.String(), "no database") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// TestListenAt: a dead socket is replaced, a live one is not.
func TestListenAt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenAt(path); err == nil || !strings.Contains(err.Error(), "somebody already does") {
		t.Errorf("live socket: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close() // as a killed agent leaves it
	second, err := listenAt(path)
	if err != nil {
		t.Fatalf("dead socket: %v", err)
	}
	second.Close()
}

func TestInherited(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]struct {
		env  []string
		fd   int
		fail bool
	}{
		"none":          {nil, -1, false},
		"only one":      {[]string{"LISTEN_FDS", "1"}, 3, false},
		"named":         {[]string{"LISTEN_FDS", "2", "LISTEN_FDNAMES", "other:agent"}, 4, false},
		"not mine":      {[]string{"LISTEN_FDS", "1", "LISTEN_PID", "1"}, -1, false},
		"beyond":        {[]string{"LISTEN_FDS", "2", "LISTEN_FDNAMES", "a:b:agent"}, 0, true},
		"no number":     {[]string{"LISTEN_FDS", "x"}, -1, false},
		"negative":      {[]string{"LISTEN_FDS", "-4"}, -1, false},
		"several, none": {[]string{"LISTEN_FDS", "3"}, 0, true},
	} {
		fd, err := inherited(env(part.env...))
		if (err != nil) != part.fail || err == nil && fd != part.fd {
			t.Errorf("%s: %d, %v", name, fd, err)
		}
	}
}

func TestDecodeConfig(t *testing.T) {
	t.Parallel()
	type inner struct {
		Paths []string `json:"paths"`
		N     int8     `json:"n"`
	}
	type config struct {
		Name  string           `json:"name"`
		On    bool             `json:"on"`
		Ratio float64          `json:"ratio"`
		Lists inner            `json:"lists"`
		Sets  map[string]inner `json:"sets"`
		Many  []inner          `json:"many"`
		Ptr   *inner           `json:"ptr"`
		Any   any              `json:"any"`
		Addr  time.Time        `json:"at"`
		skip  int
	}
	for text, want := range map[string]string{
		`{"name":"x","on":true,"ratio":1.5,"lists":{"paths":["a"],"n":3},"sets":{"s":{"n":1}},"many":[{}],"ptr":null,"any":{"x":[1]},"at":"2026-01-02T03:04:05Z"}`: "",
		``:                            "",
		`null`:                        "",
		`{}`:                          "",
		`{"nmae":"x"}`:                "nmae: unknown key (known: any, at, lists, many, name, on, ptr, ratio, sets)",
		`{"Name":"x"}`:                "Name: unknown key",
		`{"skip":1}`:                  "skip: unknown key",
		`{"lists":{"path":[]}}`:       "lists.path: unknown key (known: n, paths)",
		`{"name":"x","name":1}`:       "name: key given twice",
		`{"name":7}`:                  "name: cannot use number, want string",
		`{"on":"yes"}`:                "on: cannot use string, want boolean",
		`{"lists":{"paths":["a",2]}}`: "lists.paths[1]: cannot use number, want string",
		`{"lists":[]}`:                "lists: cannot use list, want object",
		`{"lists":{"paths":"a"}}`:     "lists.paths: cannot use string, want list",
		`{"lists":{"paths":{}}}`:      "lists.paths: cannot use object, want list",
		`{"sets":{"s":{"x":1}}}`:      "sets.s.x: unknown key",
		`{"many":[{},{"n":"1"}]}`:     "many[1].n: cannot use string, want number",
		`{"lists":{"n":300}}`:         "n: cannot use number 300, want int8",
		`{"ptr":{"q":1}}`:             "ptr.q: unknown key",
		`[]`:                          "config: cannot use list, want object",
		`"x"`:                         "config: cannot use string, want object",
		`{"name":"x"}{}`:              "text after the end",
		`{"name":`:                    "cannot decode configuration",
		`{"at":"never"}`:              "cannot decode configuration",
	} {
		c := config{skip: 1}
		err := DecodeConfig([]byte(text), &c)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	kept := config{Name: "default", On: true}
	if err := DecodeConfig([]byte(`{"on":false}`), &kept); err != nil || kept.Name != "default" || kept.On {
		t.Errorf("%+v, %v", kept, err)
	}
	if DecodeConfig([]byte(`{}`), config{}) == nil || DecodeConfig([]byte(`{}`), new(int)) == nil {
		t.Error("a target that is no pointer to a struct is accepted")
	}
}

func FuzzDecodeConfig(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{"b":[1,"x"]},"c":"d"}`, `{"a":{"b":[1,2]}}`, `{"a":1,"a":2}`, `{"c":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v struct {
			A struct {
				B []int `json:"b"`
			} `json:"a"`
			C string `json:"c"`
		}
		if DecodeConfig(text, &v) != nil {
			return
		}
		again, _ := json.Marshal(v) // what is accepted is a configuration
		if err := DecodeConfig(again, &v); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
