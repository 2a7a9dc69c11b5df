package script

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/names"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

const (
	folder   = "../testdata/script"
	patience = 10 * time.Second       // how long something that ought to happen is waited for
	doubt    = 400 * time.Millisecond // how long something that ought not to happen is waited for
)

// program is the proxy under test: built from the sources unless -program names one.
var program string

var given = flag.String("program", "", "the proxy to test instead of the one built from the sources")

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "12") // scripts mostly wait
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sentinel-script-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if *given != "" {
		program = *given
		return m.Run()
	}
	program = filepath.Join(dir, "sentinel")
	build := exec.Command("go", "build", "-o", program, "github.com/sentinel-stack/sentinel/proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the proxy: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestScripts runs every script, each with a proxy, ports, backends and agents of its own.
func TestScripts(t *testing.T) {
	known := map[string]func(*testscript.TestScript, bool, []string){}
	for name := range commands() {
		known[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			w := ts.Value(worldKey{}).(*world)
			w.setenv = ts.Setenv
			c := call{world: w, patience: patience}
			if neg {
				c.patience = doubt
			}
			err := c.do(append([]string{name}, args...))
			switch {
			case neg && err == nil:
				ts.Fatalf("%s succeeded, and must not", name)
			case neg && errors.As(err, new(usage)), !neg && err != nil:
				ts.Fatalf("%v", err)
			}
		}
	}
	testscript.Run(t, testscript.Params{Dir: folder, RequireUniqueNames: true, Setup: setup, Cmds: known, Condition: condition})
}

// commands are what scripts know beside the usual ones. "! COMMAND" expects that it fails.
//
//	proxy start [-env K=V]... [FILE]   start the proxy on FILE (sentinel.kdl) and wait until it is ready
//	proxy reload | stop | signal NAME  ask by signal; reload waits for the outcome, stop for the end with exit code 0
//	proxy ended                        the process has ended by itself
//	backend NAME …                     a server that does as it is told and keeps what it got: see backend_test.go
//	agent NAME …                       an agent that does as the request says and keeps what it got: see agent_test.go
//	calls NAME …                       a server of HTTP/2 and gRPC: see calls_test.go
//	http [OPTION]... [/PATH]           one exchange, or several, with what must be true of the answer: see client_test.go
//	raw NAME …                         a connection byte by byte: see raw_test.go
//	quic VERB …                        a client of HTTP/3: see quic_test.go
//	spread [OPTION]... COUNT /PATH NAME OP N ...   COUNT requests, and how many of them each backend answered: see spread_test.go
//	metric NAME{LABEL=VALUE,...} OP N  the sum of the series that have these labels; OP is =, <, >, <= or >=
//	log NAME TEXT...                   NAME.log has a line with all the texts; "log NAME lines OP N" counts its lines
//	admin PATH TEXT...                 the answer of the admin socket contains the texts
//	bundle FILE BUNDLE K=V...          load a configuration with these variables and write it as a bundle
//	pki ca|cert|crl …                  certificates: see tls_test.go, also for check, openssl and curl
//	edit FILE OLD NEW                  replace a text that stands in the file
//	pipe FILE | pipe FILE drop         a named pipe that takes little, because nobody reads it; what is in it is dropped
//	eventually COMMAND                 again and again until it succeeds
//	long COMMAND                       the command, with more patience
//	timed MIN MAX COMMAND              the command succeeds after at least MIN and at most MAX
//	names start|set|asked …            a name server: see names_test.go
//	bg NAME COMMAND, join NAME         a command beside the script, and its result
//	sleep DURATION                     wait where only time can tell
func commands() map[string]func(c call, args []string) error {
	return map[string]func(c call, args []string) error{
		"proxy": call.proxy, "backend": call.backend, "agent": call.agent, "calls": call.calls, "http": call.http, "raw": call.raw, "quic": call.quic, "spread": call.spread, "metric": call.metric,
		"log": call.log, "admin": call.admin, "edit": call.edit, "bundle": call.bundle, "pipe": call.pipe, "eventually": call.eventually, "timed": call.timed, "pki": call.pki, "check": call.check, "openssl": call.openssl, "acme": call.acme, "long": call.long, "curl": call.curl,
		"names": call.names, "bg": call.bg, "join": call.join, "sleep": call.sleep,
	}
}

// usage is an error of the script itself.
type usage string

func (u usage) Error() string { return "usage: " + string(u) }

type worldKey struct{}

// world is what one script has started.
type world struct {
	dir    string // of the script's files
	run    string // runtime directory; its name is short, because those of sockets are limited
	setenv func(name, value string)

	mu       sync.Mutex // guards the rest; commands run beside each other
	vars     map[string]string
	process  *process
	backends map[string]*backend
	callees  map[string]*callee
	agents   map[string]*inProcessAgent
	conns    map[string]*rawConn
	beside   map[string]chan error
	reserved []int
	pipes    map[string]*os.File
	issued   certificates
	sessions tls.ClientSessionCache
	acmes    []*acmeServer

	nameServers []*names.Server
}

// call is one command under way.
type call struct {
	*world
	patience time.Duration
}

func (c call) do(args []string) error {
	f := commands()[args[0]]
	if f == nil {
		return usage("no command " + args[0])
	}
	return f(c, args[1:])
}

func setup(env *testscript.Env) error {
	run, err := os.MkdirTemp("", "s-")
	if err != nil {
		return err
	}
	w := &world{dir: env.WorkDir, run: run, vars: map[string]string{}, backends: map[string]*backend{}, callees: map[string]*callee{}, agents: map[string]*inProcessAgent{},
		conns: map[string]*rawConn{}, beside: map[string]chan error{}, pipes: map[string]*os.File{}, sessions: tls.NewLRUClientSessionCache(16), setenv: env.Setenv}
	w.issued = certificates{authorities: map[string]*pki.Authority{}, pairs: map[string]*pki.Pair{}, status: map[string]int{}}
	env.Values[worldKey{}] = w
	env.Defer(w.end)
	for _, name := range []string{"PORT", "PORT2", "METRICS", "NEW", "SHORT", "OPEN", "PLAIN", "NOBODY"} {
		if _, err := w.port(name); err != nil {
			return err
		}
	}
	w.set("RUN", run)
	return nil
}

// set gives scripts and the proxy a variable.
func (w *world) set(name, value string) {
	w.mu.Lock()
	w.vars[name] = value
	w.mu.Unlock()
	w.setenv(name, value)
}

func (w *world) get(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.vars[name]
}

// port reserves a port of the loopback address: the socket is bound but does not listen, so that nobody but a listener that asks for this very port gets it.
func (w *world) port(name string) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	w.reserved = append(w.reserved, fd)
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	n := sa.(*syscall.SockaddrInet4).Port
	w.set(name, strconv.Itoa(n))
	return n, nil
}

// end leaves nothing behind.
func (w *world) end() {
	w.mu.Lock()
	conns, backends, agents, p := w.conns, w.backends, w.agents, w.process
	w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	if p != nil {
		p.kill()
	}
	for _, a := range agents {
		a.stop()
	}
	for _, b := range backends {
		b.stop()
	}
	for _, k := range w.callees {
		k.stop()
	}
	for _, f := range w.pipes {
		_ = f.Close()
	}
	for _, fd := range w.reserved {
		_ = syscall.Close(fd)
	}
	for _, s := range w.nameServers {
		s.Stop()
	}
	for _, a := range w.acmes {
		a.stop()
	}
	for _, s := range w.issued.responders {
		s.Close()
	}
	_ = os.RemoveAll(w.run)
}

func (c call) eventually(args []string) error {
	if len(args) == 0 {
		return usage("eventually COMMAND")
	}
	return c.until(func() error { return call{c.world, doubt}.do(args) })
}

// until tries until there is no error, and returns the last one when patience ends.
func (c call) until(try func() error) error {
	end := time.Now().Add(c.patience)
	for {
		err := try()
		if err == nil || errors.As(err, new(usage)) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", c.patience, err)
		}
		time.Sleep(15 * time.Millisecond)
	}
}

// long gives `eventually` as long as an ACME server takes.
func (c call) long(args []string) error {
	if len(args) == 0 {
		return usage("long COMMAND")
	}
	c.patience = acmePatience
	return c.do(args)
}

func (c call) timed(args []string) error {
	if len(args) < 3 {
		return usage("timed MIN MAX COMMAND")
	}
	least, err1 := time.ParseDuration(args[0])
	most, err2 := time.ParseDuration(args[1])
	if err := errors.Join(err1, err2); err != nil {
		return usage(err.Error())
	}
	start := time.Now()
	err := c.do(args[2:])
	took := time.Since(start)
	switch {
	case err != nil:
		return err
	case took < least || took > most:
		return fmt.Errorf("took %v, not between %v and %v", took.Round(time.Millisecond), least, most)
	}
	return nil
}

func (c call) bg(args []string) error {
	if len(args) < 2 || c.beside[args[0]] != nil {
		return usage("bg NAME COMMAND, with a name that is not in use")
	}
	done := make(chan error, 1)
	c.beside[args[0]] = done
	go func() { done <- c.do(args[1:]) }()
	return nil
}

func (c call) join(args []string) error {
	if len(args) != 1 || c.beside[args[0]] == nil {
		return usage("join NAME")
	}
	done := c.beside[args[0]]
	delete(c.beside, args[0])
	return <-done
}

func (c call) sleep(args []string) error {
	if len(args) != 1 {
		return usage("sleep DURATION")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return usage(err.Error())
	}
	time.Sleep(d)
	return nil
}

func (c call) edit(args []string) error {
	if len(args) != 3 {
		return usage("edit FILE OLD NEW")
	}
	path := c.file(args[0])
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), args[1]) {
		return fmt.Errorf("%s does not hold %q", args[0], args[1])
	}
	// Written beside and renamed, as editors do: nobody reads half a file.
	if err := os.WriteFile(path+".new", []byte(strings.ReplaceAll(string(text), args[1], args[2])), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (c call) pipe(args []string) error {
	if len(args) == 0 || len(args) == 2 && args[1] != "drop" {
		return usage("pipe FILE [drop]")
	}
	path := c.file(args[0])
	if f := c.pipes[path]; f != nil {
		_ = f.Close()
		delete(c.pipes, path)
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if len(args) == 2 {
		return nil
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // for both, so that opening waits for nobody
	if err != nil {
		return err
	}
	c.pipes[path] = f
	return nil
}

func (c call) file(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// compare judges "OP N".
func compare(got float64, op, number string) error {
	want, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return usage(err.Error())
	}
	ok := false
	switch op {
	case "=":
		ok = got == want
	case "<":
		ok = got < want
	case ">":
		ok = got > want
	case "<=":
		ok = got <= want
	case ">=":
		ok = got >= want
	default:
		return usage("operator " + op)
	}
	if !ok {
		return fmt.Errorf("it is %v, not %s %s", got, op, number)
	}
	return nil
}

// unescape turns \r, \n, \x00 and the like into bytes.
func unescape(s string) (string, error) {
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		return "", usage("escapes of " + s)
	}
	return out, nil
}

// dial connects to a port of the loopback address, from a loopback address of choice.
func dial(from, port string) (socket, error) {
	d := net.Dialer{Timeout: patience}
	if path, ok := strings.CutPrefix(port, "unix:"); ok {
		conn, err := d.Dial("unix", path)
		if err != nil {
			return nil, err
		}
		return conn.(*net.UnixConn), nil
	}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
