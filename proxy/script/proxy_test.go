package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// process is a running proxy; its output is in proxy.log.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{}
	err   error // valid after done
	admin *api.Client
}

func (c call) proxy(args []string) error {
	if len(args) == 0 {
		return usage("proxy start|stop|reload|signal|ended")
	}
	if args[0] == "start" {
		return c.start(args[1:])
	}
	p := c.process
	if p == nil {
		return usage("no proxy was started")
	}
	switch args[0] {
	case "stop":
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		return c.ended(p)
	case "ended":
		return c.ended(p)
	case "reload":
		return c.reload(p)
	case "signal":
		sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}[args[1]]
		if sig == 0 {
			return usage("signal " + args[1])
		}
		return p.cmd.Process.Signal(sig)
	}
	return usage("proxy " + args[0])
}

func (c call) start(args []string) error {
	if c.process != nil {
		return usage("a proxy runs already")
	}
	c.mu.Lock()
	env := []string{"PATH=" + os.Getenv("PATH"), "SENTINEL_RUNTIME_DIR=" + c.run}
	for name, value := range c.vars {
		env = append(env, name+"="+value)
	}
	c.mu.Unlock()
	config := "sentinel.kdl"
	for len(args) > 0 {
		if args[0] == "-env" && len(args) > 1 {
			env, args = append(env, args[1]), args[2:]
			continue
		}
		config, args = args[0], args[1:]
	}
	if path, ok := strings.CutPrefix(config, "bundle:"); ok {
		config = "bundle:" + c.file(path)
	}
	notify := filepath.Join(c.run, "notify")
	_ = os.Remove(notify)
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(c.file("proxy.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(program, "run", "--config", config), ready: make(chan struct{}), done: make(chan struct{}), admin: api.NewClient(filepath.Join(c.run, "proxy.sock"))}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.dir, append(env, "NOTIFY_SOCKET="+notify), out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = sock.Close()
		close(p.done)
	}()
	go p.hear(sock)
	select {
	case <-p.ready:
		c.process = p
		return nil
	case <-p.done:
		text, _ := os.ReadFile(c.file("proxy.log"))
		return fmt.Errorf("proxy ended: %v\n%s", p.err, text)
	case <-time.After(patience):
		p.kill()
		return errors.New("proxy does not become ready")
	}
}

// bundle writes what the stack would start the proxy with.
func (c call) bundle(args []string) error {
	if len(args) < 2 {
		return usage("bundle FILE BUNDLE K=V...")
	}
	loaded, err := config.Load(c.file(args[0]), config.Options{LookupEnv: c.lookup(args[2:])})
	if err != nil {
		return err
	}
	return loaded.WriteBundle(c.file(args[1]))
}

// lookup is the environment of a script, with more.
func (c call) lookup(more []string) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		for _, kv := range more {
			if k, v, ok := strings.Cut(kv, "="); ok && k == name {
				return v, true
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		v, ok := c.vars[name]
		return v, ok
	}
}

// hear waits for the proxy to say that it is ready.
func (p *process) hear(sock *net.UnixConn) {
	buf := make([]byte, 4096)
	said := false
	for {
		n, err := sock.Read(buf)
		if err != nil {
			return
		}
		if !said && slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") {
			said = true
			close(p.ready)
		}
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (c call) ended(p *process) error {
	select {
	case <-p.done:
	case <-time.After(c.patience):
		return errors.New("proxy does not end")
	}
	c.process = nil
	if p.err != nil {
		text, _ := os.ReadFile(c.file("proxy.log"))
		return fmt.Errorf("proxy ended: %v\n%s", p.err, text)
	}
	return nil
}

// reload asks by signal and waits for the outcome.
func (c call) reload(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before, err := p.admin.Status(ctx)
	if err != nil {
		return usage(err.Error())
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for {
		now, err := p.admin.Status(ctx)
		if err != nil {
			return usage("no outcome of the reload: " + err.Error())
		}
		if now.LastReload == nil || before.LastReload != nil && now.LastReload.At.Equal(before.LastReload.At) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if !now.LastReload.OK {
			return errors.New(now.LastReload.Error)
		}
		return nil
	}
}

func (c call) admin(args []string) error {
	if len(args) < 2 || c.process == nil {
		return usage("admin [-socket PATH] PATH TEXT..., while a proxy runs")
	}
	socket := filepath.Join(c.run, "proxy.sock")
	if args[0] == "-socket" {
		socket, args = c.file(args[1]), args[2:]
		c.process.admin = api.NewClient(socket) // for metric and reload too
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	client := http.Client{Timeout: patience, Transport: transport}
	res, err := client.Get("http://admin" + args[0])
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d\n%s", res.StatusCode, body)
	}
	return holds(string(body), args[1:])
}

// holds reports the texts that are missing.
func holds(text string, want []string) error {
	for _, s := range want {
		if !strings.Contains(text, s) {
			return fmt.Errorf("%q is not in:\n%s", s, text)
		}
	}
	return nil
}

// metric waits until a metric has a value. A series that is not exported counts as 0, but its name must be one that the manual knows.
func (c call) metric(args []string) error {
	if len(args) != 3 || c.process == nil {
		return usage("metric NAME{LABEL=VALUE,...} OP N, while a proxy runs")
	}
	name, labels, _ := strings.Cut(strings.TrimSuffix(args[0], "}"), "{")
	manual, err := os.ReadFile("../observe/README.md")
	if err != nil {
		return usage(err.Error())
	}
	family := strings.TrimSuffix(name, "_count")
	if strings.HasPrefix(name, "sentinel_") && !strings.Contains(string(manual), "`"+family+"`") {
		return usage("no metric " + name + " in the manual")
	}
	return c.until(func() error {
		got, err := c.sum(name, labels)
		if err == nil {
			err = compare(got, args[1], args[2])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return nil
	})
}

func (c call) sum(name, labels string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var text strings.Builder
	if _, err := c.process.admin.Metrics(ctx, &text); err != nil {
		return 0, err
	}
	total := 0.0
	for line := range strings.Lines(text.String()) {
		series, number, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok {
			series, number, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		family, has, _ := strings.Cut(series, "{")
		if !ok || family != name {
			continue
		}
		has = "," + strings.ReplaceAll(has, `"`, "") + ","
		fits := true
		for _, want := range strings.FieldsFunc(labels, func(r rune) bool { return r == ',' }) {
			fits = fits && strings.Contains(has, ","+want+",")
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read %q: %w", line, err)
		}
		if fits {
			total += value
		}
	}
	return total, nil
}

// log waits until a log has a line with all the texts, or a number of lines.
func (c call) log(args []string) error {
	if len(args) < 2 {
		return usage("log NAME TEXT... | log NAME lines OP N")
	}
	return c.until(func() error {
		text, err := os.ReadFile(c.file(args[0] + ".log"))
		if err != nil {
			return err
		}
		if args[1] == "lines" && len(args) == 4 {
			if err := compare(float64(strings.Count(string(text), "\n")), args[2], args[3]); err != nil {
				return fmt.Errorf("lines: %w\n%s", err, text)
			}
			return nil
		}
		for line := range strings.Lines(string(text)) {
			if holds(line, args[1:]) == nil {
				return nil
			}
		}
		return fmt.Errorf("no line of %s.log holds %q:\n%s", args[0], args[1:], text)
	})
}
