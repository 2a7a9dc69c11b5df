package plan

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// program finds the command, or the program of the given name beside the supervisor, else on PATH. Not to find it is the service's problem, not the
// plan's: the others run.
func (s *Service) program(command []string, name string, h Host, env []string) {
	args := append([]string(nil), command...)
	for i := range args {
		args[i] = os.Expand(args[i], func(v string) string { return fill(v, env) })
	}
	if len(args) == 0 {
		args = []string{name}
	}
	s.Args = args
	program := args[0]
	if !strings.Contains(program, "/") && h.ProgramDir != "" {
		beside := filepath.Join(h.ProgramDir, program)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			s.Path = beside
			return
		}
	}
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		s.Path, s.Problem = program, fmt.Sprintf("cannot find program %s beside sentinel-stack or on PATH", program)
		return
	}
	s.Path = path
}

// fill replaces only the variables that are known no sooner than here; all others were expanded when the file was read.
func fill(name string, env []string) string {
	switch name {
	case "SENTINEL_SOCKET", "SENTINEL_AGENT", "SENTINEL_RUNTIME_DIR":
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
	}
	return "${" + name + "}"
}

// private are the variables that concern the supervisor alone.
var private = map[string]bool{
	"NOTIFY_SOCKET": true, "WATCHDOG_USEC": true, "WATCHDOG_PID": true, "LISTEN_FDS": true, "LISTEN_PID": true, "LISTEN_FDNAMES": true,
	"SENTINEL_LEADER": true, "SENTINEL_SOCKET": true, "SENTINEL_AGENT": true, "SENTINEL_RUNTIME_DIR": true, "SENTINEL_CONFIG": true,
}

// environment is the supervisor's with vars on top, each name once.
func environment(h Host, runtimeDir string, vars []config.NameValue) []string {
	vars = append([]config.NameValue{{Name: "SENTINEL_RUNTIME_DIR", Value: runtimeDir}}, vars...)
	last := map[string]int{}
	for i, v := range vars {
		last[v.Name] = i
	}
	var env []string
	for _, kv := range h.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, set := last[name]; !set && !private[name] {
			env = append(env, kv)
		}
	}
	for i, v := range vars {
		if last[v.Name] == i {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	return env
}
