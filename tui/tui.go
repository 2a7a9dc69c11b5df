// Package tui is the dashboard `sentinel-stack top`: it shows on one screen whether the stack is healthy and, if it is not, where.
// On a terminal it is interactive; anywhere else it prints one table or one JSON object and ends. It only reads, unless the person
// asks for an action and confirms it, and leaving it never touches the stack.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
	"github.com/sentinel-stack/sentinel/tui/source"
	"github.com/sentinel-stack/sentinel/tui/view"
)

// DefaultRefresh is the time between two readings.
const DefaultRefresh = time.Second

// Exit codes of a dashboard that printed once; they are those of the stack's other commands.
const (
	exitFault      = 1
	exitNotRunning = 5
)

// Options say what to watch and how to show it. One of ControlSocket and ProxyAdmin must be set.
type Options struct {
	ControlSocket string        // of the stack; "" = only a proxy
	ProxyAdmin    string        // the proxy's admin socket; "" = as the stack says
	Refresh       time.Duration // 0 = DefaultRefresh
	Once          bool          // print one reading and end, also on a terminal
	JSON          bool          // print it as JSON; implies Once
	ASCII         bool          // no character above 0x7e; also chosen when the locale is not UTF-8
	ReadOnly      bool          // refuse restart, stop, start and reload
	In            io.Reader     // nil = os.Stdin
	Out           io.Writer     // nil = os.Stdout
	Env           []string      // nil = os.Environ()
}

// StateError says that what was printed once is not all healthy. Its text is for the last line on standard error.
type StateError struct {
	State string // as in the table's first line
	Code  int
}

func (e *StateError) Error() string { return "the stack is " + e.State }

// ExitCode is the code the command should end with.
func (e *StateError) ExitCode() int { return e.Code }

// Run shows the dashboard until the person leaves or ctx ends. A printed reading that is not all healthy gives a *StateError.
func Run(ctx context.Context, o Options) error {
	if o.Refresh <= 0 {
		o.Refresh = DefaultRefresh
	}
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	o.ASCII = o.ASCII || !utf8Locale(o.Env)
	src, closeClients, err := open(o)
	if err != nil {
		return err
	}
	defer closeClients()
	if o.Once || o.JSON || !interactive(o) {
		return printOnce(ctx, o, src)
	}
	return runProgram(ctx, o, src)
}

func open(o Options) (*source.Source, func(), error) {
	so := source.Options{Refresh: o.Refresh}
	closeClients := func() {}
	if o.ControlSocket != "" {
		c := stackapi.NewClient(o.ControlSocket)
		so.Stack, closeClients = c, c.Close
	}
	if o.ProxyAdmin != "" {
		so.Proxy = proxyapi.NewClient(o.ProxyAdmin)
	}
	src, err := source.New(so)
	if err != nil {
		closeClients()
		return nil, nil, err
	}
	return src, closeClients, nil
}

// interactive says whether a person sits at both ends. The check comes before the program starts, because the library writes
// terminal queries to whatever output it is given.
func interactive(o Options) bool {
	if term := getenv(o.Env, "TERM"); term == "" || term == "dumb" || getenv(o.Env, "CI") != "" {
		return false
	}
	return IsTerminal(o.In) && IsTerminal(o.Out)
}

// IsTerminal reports whether stream is a file that is a terminal. The stack's other commands ask it too.
func IsTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}

// printOnce takes two readings, so that there are rates, and prints the second. When the first fails there is no second.
func printOnce(ctx context.Context, o Options, src *source.Source) error {
	first := src.Read(ctx)
	m := model.New(model.Options{ReadOnly: true, Refresh: o.Refresh}, first.At)
	m.Update(first)
	if first.Err == "" {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(o.Refresh, DefaultRefresh)):
		}
		m.Update(src.Read(ctx))
	}
	var err error
	if o.JSON {
		err = writeReport(o.Out, m)
	} else {
		_, err = io.WriteString(o.Out, view.Plain(m, view.NewTheme(false, o.ASCII)))
	}
	if err != nil {
		return fmt.Errorf("cannot write dashboard: %w", err)
	}
	return stateError(m)
}

func stateError(m *model.Model) error {
	s := m.Summary()
	switch {
	case m.Connection().Err != "":
		return &StateError{State: s.State, Code: exitNotRunning}
	case s.Severity >= model.Warn:
		return &StateError{State: s.State, Code: exitFault}
	default:
		return nil
	}
}

// colored says whether escape sequences for colour are wanted: by the convention, any value of NO_COLOR that is not empty says no.
func colored(env []string) bool { return getenv(env, "NO_COLOR") == "" }

// utf8Locale follows the C library: the first of the three that is set decides, none means ASCII.
func utf8Locale(env []string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(env, name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// getenv returns the last value of a variable, as the system does.
func getenv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(env[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

// IsNotRunning says whether err means that nothing listens on the control socket.
func IsNotRunning(err error) bool {
	var s *StateError
	return errors.As(err, &s) && s.Code == exitNotRunning
}
