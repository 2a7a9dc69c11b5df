package cli

import (
	"crypto/sha256"
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

// privateBase is a directory of the user's own in the temporary directory. It holds the runtime directory when nothing names one, and remembers those
// used, so that "status" needs no flags.
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

// remember notes where a supervisor runs: by its configuration file, so that it is found again when that file is broken, or was started with
// --runtime-dir, and as the last one, for commands that neither name nor find a file.
func remember(dir, config string) {
	base, err := privateBase()
	if err != nil {
		return
	}
	for _, name := range []string{noteOf(config), lastNote} {
		tmp := filepath.Join(base, name+".new")
		if os.WriteFile(tmp, []byte(dir+"\n"), 0o600) == nil {
			os.Rename(tmp, filepath.Join(base, name))
		}
	}
}

// forget drops the note about a configuration file: its supervisor has ended.
func forget(config string) {
	if base, err := privateBase(); err == nil {
		os.Remove(filepath.Join(base, noteOf(config)))
	}
}

const lastNote = "last"

// noteOf is the name of the note about a configuration file.
func noteOf(config string) string {
	if abs, err := filepath.Abs(config); err == nil {
		config = abs
	}
	return fmt.Sprintf("of-%x", sha256.Sum256([]byte(config)))[:35]
}

// remembered is what the note says, "" = there is none.
func remembered(note string) string {
	base, err := privateBase()
	if err != nil {
		return ""
	}
	dir, _ := os.ReadFile(filepath.Join(base, note))
	return strings.TrimSpace(string(dir))
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
	config, none := a.config, false
	if config == "" {
		config, none = plan.Find()
	}
	candidates := []func() string{
		func() string { return plan.RuntimeDirOf(config, os.Getenv) },
		func() string { return remembered(noteOf(config)) },
		func() string {
			if !none {
				return "" // the supervisor of another file is not meant
			}
			return remembered(lastNote)
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
