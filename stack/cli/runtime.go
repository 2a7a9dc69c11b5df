package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// systemRuntimeDir is where the packaged service runs.
const systemRuntimeDir = "/run/sentinel"

// privateBase is a directory of the user's own in the temporary directory. It holds the runtime directory when nothing names one, and remembers the last
// one used, so that "status" needs no flags.
func privateBase() (string, error) {
	dir := filepath.Join(os.TempDir(), "sentinel-"+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("cannot make private directory: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("cannot look at private directory: %v", err)
	}
	// The name is known to everybody and /tmp is everybody's: only a directory that nobody else could have made is used.
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("cannot use %s: it is not a private directory of this user; name another one with --runtime-dir", dir)
	}
	return dir, nil
}

// chooseRuntimeDir decides where a new supervisor lives.
func (a *app) chooseRuntimeDir(config string) (string, error) {
	dir := a.runtimeDir
	if dir == "" {
		dir = plan.RuntimeDirOf(config, os.Getenv)
	}
	if dir == "" {
		base, err := privateBase()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "run")
	}
	return filepath.Abs(dir)
}

func remember(dir string) {
	if base, err := privateBase(); err == nil {
		tmp := filepath.Join(base, "last.new")
		if os.WriteFile(tmp, []byte(dir+"\n"), 0o600) == nil {
			os.Rename(tmp, filepath.Join(base, "last"))
		}
	}
}

// findRuntimeDir finds the running supervisor: the first candidate whose control socket answers. With --runtime-dir there is only that one.
func (a *app) findRuntimeDir() (string, error) {
	var tried []string
	try := func(dir string) bool {
		if dir == "" {
			return false
		}
		for _, t := range tried {
			if t == dir {
				return false
			}
		}
		tried = append(tried, dir)
		return answers(dir)
	}
	if a.runtimeDir != "" {
		if try(a.runtimeDir) {
			return a.runtimeDir, nil
		}
		return "", exit(exitNotRunning, "no supervisor is running in %s", a.runtimeDir)
	}
	config := a.config
	if config == "" {
		config, _ = plan.Find()
	}
	candidates := []func() string{
		func() string { return plan.RuntimeDirOf(config, os.Getenv) },
		func() string {
			base, err := privateBase()
			if err != nil {
				return ""
			}
			last, _ := os.ReadFile(filepath.Join(base, "last"))
			return strings.TrimSpace(string(last))
		},
		func() string {
			base, err := privateBase()
			if err != nil {
				return ""
			}
			return filepath.Join(base, "run")
		},
		func() string { return systemRuntimeDir },
	}
	for _, candidate := range candidates {
		if dir := candidate(); try(dir) {
			return dir, nil
		}
	}
	return "", exit(exitNotRunning, "no supervisor is running (looked in %s)", strings.Join(tried, ", "))
}

func answers(dir string) bool {
	c, err := net.DialTimeout("unix", daemon.ControlSocket(dir), time.Second)
	if err != nil {
		return os.IsPermission(err) // it runs, and the call that follows says what is wrong
	}
	c.Close()
	return true
}

func (a *app) client() (*api.Client, error) {
	dir, err := a.findRuntimeDir()
	if err != nil {
		return nil, err
	}
	return api.NewClient(daemon.ControlSocket(dir)), nil
}

// host describes this machine to the plan.
func host() plan.Host {
	dir := ""
	if exe, err := os.Executable(); err == nil {
		dir = filepath.Dir(exe)
	}
	return plan.Host{Getenv: os.Getenv, Environ: os.Environ(), ProgramDir: dir}
}
