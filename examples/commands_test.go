package examples

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// patience is how long `eventually` and the ends of programs are waited for.
const patience = 15 * time.Second

// commands are what scripts know beside the usual ones:
//
//	backend NAME [delay]       start a web server that answers "NAME path"; its port becomes $NAME. "backend stop NAME" and "backend start NAME" switch it.
//	bg start NAME cmd args...  start a program; its output goes to NAME.log. "bg stop NAME" sends TERM, "bg kill NAME" KILL.
//	kill9 SERVICE              send KILL to a service of the stack, and wait until it is gone
//	http [-status N] [-method M] [-header 'K: V']... [-body TEXT | -size N] [-has TEXT] [-count N] URL
//	                           send one request, or N, with a body of a text or of N bytes; the body goes to stdout, status line and header to stderr
//	eventually http ...        the same until it succeeds
//	eventually grep TEXT FILE  until the file holds the text
//	socket URL SEND WANT ...   open a WebSocket, send texts and compare what comes back; WANT is a text, - for nothing yet, or close:CODE, and N*x is N times x
//	readme FILE                run the console blocks of a page and compare their outputs
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"backend":    cmdBackend,
	"bg":         cmdBg,
	"kill9":      cmdKill9,
	"http":       cmdHTTP,
	"eventually": cmdEventually,
	"socket":     cmdSocket,
	"readme":     cmdReadme,
}

type worldKey struct{}

// world is what a script has started.
type world struct {
	dir      string
	env      func() []string
	programs map[string]*program
	backends map[string]*backend
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// end leaves nothing behind. A stack that a README started in the background is found by its runtime directory.
func (w *world) end() {
	for _, p := range w.programs {
		_ = p.end(syscall.SIGTERM)
	}
	for _, b := range w.backends {
		b.stop()
	}
	if pid, err := os.ReadFile(filepath.Join(w.dir, "proxy.pid")); err == nil { // left by a page that stopped half way
		if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil && n > 1 && programOf(n) == filepath.Join(bin, "sentinel") {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
	runtime := filepath.Join(w.dir, ".run")
	if _, err := os.Stat(filepath.Join(runtime, "control.sock")); err == nil {
		down := exec.Command(filepath.Join(bin, "sentinel-stack"), "down")
		down.Env = append(os.Environ(), "SENTINEL_RUNTIME_DIR="+runtime)
		_ = down.Run()
	}
}

func cmdBackend(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: backend [stop|start] NAME [delay]")
	}
	switch args[0] {
	case "stop", "start":
		b := w.backends[args[1]]
		if b == nil {
			ts.Fatalf("no backend %s", args[1])
		}
		if args[0] == "stop" {
			b.stop()
			return
		}
		ts.Check(b.start())
		return
	}
	b := &backend{name: args[0]}
	if len(args) == 2 {
		delay, err := time.ParseDuration(args[1])
		ts.Check(err)
		b.delay = delay
	}
	ts.Check(b.start())
	w.backends[b.name] = b
	ts.Setenv(b.name, strconv.Itoa(b.port))
}

func cmdBg(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) < 2 {
		ts.Fatalf("usage: bg start NAME cmd args... | bg stop NAME | bg kill NAME")
	}
	name := args[1]
	switch args[0] {
	case "start":
		p, err := startProgram(w.dir, environ(ts), filepath.Join(w.dir, name+".log"), args[2:]...)
		ts.Check(err)
		w.programs[name] = p
	case "stop", "kill":
		p := w.programs[name]
		if p == nil {
			ts.Fatalf("no program %s", name)
		}
		delete(w.programs, name)
		sig := syscall.SIGTERM
		if args[0] == "kill" {
			sig = syscall.SIGKILL
		}
		err := p.end(sig)
		if sig == syscall.SIGTERM {
			ts.Check(err)
		}
	default:
		ts.Fatalf("unknown: bg %s", args[0])
	}
}

func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 SERVICE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	control := api.NewClient(filepath.Join(ts.Getenv("SENTINEL_RUNTIME_DIR"), "control.sock"))
	defer control.Close()
	services, err := control.Services(ctx)
	ts.Check(err)
	i := slices.IndexFunc(services, func(s api.Service) bool { return s.Name == args[0] })
	if i < 0 || services[i].PID == 0 {
		ts.Fatalf("no process of service %s", args[0])
	}
	ts.Check(syscall.Kill(services[i].PID, syscall.SIGKILL))
	ts.Check(gone(services[i].PID))
}

// environ is the script's environment as a program gets it.
func environ(ts *testscript.TestScript) []string {
	names := []string{"PATH", "PWD", "HOME", "TMPDIR", "PORT", "SENTINEL_RUNTIME_DIR"}
	for name := range worldOf(ts).backends {
		names = append(names, name)
	}
	var out []string
	for _, name := range names {
		out = append(out, name+"="+ts.Getenv(name))
	}
	if targets := ts.Getenv("TARGETS"); targets != "" { // where an example keeps what it discovers
		out = append(out, "TARGETS="+targets)
	}
	return out
}

func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	body, head, err := request(args)
	fmt.Fprint(ts.Stdout(), body)
	fmt.Fprint(ts.Stderr(), head)
	switch {
	case err == nil && neg:
		ts.Fatalf("request succeeded")
	case err != nil && !neg:
		ts.Fatalf("%v\n%s\n%s", err, head, body)
	}
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually http ... | eventually grep TEXT FILE")
	}
	var try func() error
	switch args[0] {
	case "http":
		try = func() error { _, _, err := request(args[1:]); return err }
	case "grep":
		if len(args) != 3 {
			ts.Fatalf("usage: eventually grep TEXT FILE")
		}
		try = func() error {
			text, err := os.ReadFile(ts.MkAbs(args[2]))
			if err == nil && !strings.Contains(string(text), args[1]) {
				err = fmt.Errorf("%s does not hold %q; it ends:\n%s", args[2], args[1], lastLines(string(text), 15))
			}
			return err
		}
	default:
		ts.Fatalf("eventually does not know %s", args[0])
	}
	ts.Check(eventually(try))
}

// eventually tries until there is no error, and returns the last one when patience ends.
func eventually(try func() error) error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("not within %v: %w", patience, err)
}

// request does what the command http says.
func request(args []string) (body, head string, err error) {
	method, want, has, count, size := "GET", 0, "", 1, 0
	var content io.Reader = http.NoBody
	header := http.Header{}
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch value := args[1]; args[0] {
		case "-status":
			if want, err = strconv.Atoi(value); err != nil {
				return "", "", err
			}
		case "-method":
			method = value
		case "-body":
			content = strings.NewReader(value)
		case "-size":
			if size, err = strconv.Atoi(value); err != nil {
				return "", "", err
			}
			content = strings.NewReader(strings.Repeat("x", size))
		case "-count":
			if count, err = strconv.Atoi(value); err != nil {
				return "", "", err
			}
		case "-has":
			has = value
		case "-header":
			name, text, _ := strings.Cut(value, ":")
			header.Add(strings.TrimSpace(name), strings.TrimSpace(text))
		default:
			return "", "", fmt.Errorf("unknown option %s", args[0])
		}
		args = args[2:]
	}
	if len(args) != 1 {
		return "", "", errors.New("usage: http [-status N] [-method M] [-header 'K: V'] [-body TEXT | -size N] [-has TEXT] [-count N] URL")
	}
	for range count - 1 {
		// Only a request without a body can be repeated.
		more, moreHead, err := send(method, args[0], http.NoBody, header, want, has)
		body, head = body+more, head+moreHead
		if err != nil {
			return body, head, err
		}
	}
	more, moreHead, err := send(method, args[0], content, header, want, has)
	return body + more, head + moreHead, err
}

func send(method, url string, content io.Reader, header http.Header, want int, has string) (body, head string, err error) {
	req, err := http.NewRequest(method, url, content)
	if err != nil {
		return "", "", err
	}
	req.Header = header
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", "", err
	}
	var lines strings.Builder
	fmt.Fprintf(&lines, "%s %s\n", res.Proto, res.Status)
	_ = res.Header.Write(&lines)
	head = strings.ReplaceAll(lines.String(), "\r", "")
	switch {
	case want != 0 && res.StatusCode != want:
		err = fmt.Errorf("status %d, want %d", res.StatusCode, want)
	case want == 0 && res.StatusCode >= 400:
		err = fmt.Errorf("status %d", res.StatusCode)
	case !strings.Contains(string(raw), has):
		err = fmt.Errorf("body does not hold %q", has)
	}
	return string(raw), head, err
}
