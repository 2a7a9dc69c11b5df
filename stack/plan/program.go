package plan

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
