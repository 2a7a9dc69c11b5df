package ready

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// probeTimeout bounds one attempt of a probe.
const probeTimeout = 2 * time.Second

// pauses between attempts: short first, because most services are ready within milliseconds.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Probe asks a service once whether it is ready. pid is its first process: where an old and a new process share a socket, the answer must be the new one's.
type Probe func(ctx context.Context, pid int) error

// Wait repeats p until it succeeds or ctx ends; the error then tells what the last attempt said.
func Wait(ctx context.Context, pid int, p Probe) error {
	pause := firstPause
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		err := p(attempt, pid)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
}

// TCP succeeds when address ("host:port") accepts a connection.
func TCP(address string) Probe {
	return func(ctx context.Context, _ int) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// HTTP succeeds when a GET of target ("host:port/path" or a URL) is answered with 2xx. Redirects are not followed: a login page is not health.
func HTTP(target string) Probe {
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	return func(ctx context.Context, _ int) error {
		client := &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", target, resp.Status)
		}
		return nil
	}
}

// Exec succeeds when the command ends with status 0. run starts the command and waits for it.
func Exec(argv, env []string, run func(*exec.Cmd) error) Probe {
	return func(ctx context.Context, _ int) error {
		if len(argv) == 0 {
			return errors.New("the probe names no command")
		}
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &limited{&out}, &limited{&out}
		cmd.WaitDelay = time.Second // a grandchild may hold the pipe
		if err := run(cmd); err != nil {
			return fmt.Errorf("%s: %v: %s", argv[0], err, bytes.TrimSpace(out.Bytes()))
		}
		return nil
	}
}

// limited keeps the first bytes of a probe's output for the message.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), 512-min(512, l.b.Len()))])
	return len(p), nil
}
