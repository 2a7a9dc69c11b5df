package daemon

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/exec/shim"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
)

// confine puts a service into its box.
func (d *Daemon) confine(c *exec.Command, s plan.Service) error {
	if s.Sandbox.Zero() {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil || s.Sandbox.User != "" { // the supervisor's directory may be closed to another user
		dir = "/"
	}
	if s.Sandbox.PrivateTmp {
		if err := d.ownTmp(c, &s); err != nil {
			return err
		}
	}
	for _, made := range s.MakeDirs {
		if err := os.MkdirAll(made, 0o700); err != nil {
			return fmt.Errorf("cannot make %s: %v", made, err)
		}
	}
	notify := plan.NotifyPath(d.o.RuntimeDir, s.Name)
	if c.Box, err = d.sandbox.Box(s.Sandbox, sandbox.Needs{Program: s.Path, Dir: dir, Sockets: []string{filepath.Dir(notify), d.credentials(s)}, Closed: []string{d.o.RuntimeDir}}, s.Strict); err != nil {
		return err
	}
	if c.Box.Switch || c.Box.View { // else it would stay in the directory as it was before the view
		c.Dir = dir
	}
	if c.Box.Switch {
		for _, open := range []string{d.o.RuntimeDir, filepath.Dir(notify)} {
			letThrough(open)
		}
	}
	return nil
}

// ownTmp makes the place for temporary files: the service's own /tmp, or, where nobody may mount one, a directory in the runtime directory.
func (d *Daemon) ownTmp(c *exec.Command, s *plan.Service) error {
	dir := "/tmp"
	if !d.sandbox.Root {
		dir = filepath.Join(d.o.RuntimeDir, "tmp", plan.FileName(s.Name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make %s: %v", dir, err)
		}
		s.Sandbox.Write = append(slices.Clone(s.Sandbox.Write), dir)
	}
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(kv string) bool { return strings.HasPrefix(kv, "TMPDIR=") })
	c.Env = append(c.Env, "TMPDIR="+dir)
	return nil
}

// letThrough lets other users reach what is below a directory and open to them. They cannot list it.
func letThrough(dir string) {
	if info, err := os.Stat(dir); err == nil {
		_ = os.Chmod(dir, info.Mode().Perm()|0o001)
	}
}

// credentials is the directory with the links to the secrets of a service, "" = it has none.
func (d *Daemon) credentials(s plan.Service) string {
	if len(s.Secrets) == 0 {
		return ""
	}
	return filepath.Join(d.o.RuntimeDir, "credentials", plan.FileName(s.Name))
}

func (d *Daemon) getSandbox(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	p := d.Plan()
	i := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Name == name })
	if i < 0 {
		fail(w, http.StatusNotFound, "no service "+strconv.Quote(name), "sentinel-stack status lists them")
		return
	}
	out := api.Sandbox{Service: name, Layers: []api.Layer{}}
	for _, s := range d.Services() {
		if s.Name == name {
			out.PID = s.PID
			out.Layers = d.layers(&p.Services[i], &s)
		}
	}
	reply(w, out)
}

// layers looks at the running process of a service.
func (d *Daemon) layers(s *plan.Service, now *api.Service) []api.Layer {
	out := []api.Layer{}
	if now.PID == 0 {
		return out
	}
	skipped := map[string]string{}
	for _, l := range now.SandboxLacks {
		name, why, _ := strings.Cut(l, ": ")
		skipped[name] = why
	}
	for _, l := range d.sandbox.Inspect(s.Sandbox, now.PID, skipped, len(s.Secrets)) {
		out = append(out, api.Layer(l))
	}
	return out
}

// deliver gives a service its secrets: each in a sealed memory file that only its processes have, under a name in a directory of links. Nothing of them is on a disk, in an environment or in arguments.
func (d *Daemon) deliver(c *exec.Command, s plan.Service) error {
	dir := d.credentials(s)
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %v", dir, err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		_ = os.Chmod(d, 0o755) // the links tell nothing but names
	}
	for i, secret := range s.Secrets {
		link := filepath.Join(dir, secret.Name)
		_ = os.Remove(link)
		if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(shim.FirstListenFD+len(c.Listen)+i), link); err != nil {
			return fmt.Errorf("cannot deliver secret %s: %v", secret.Name, err)
		}
		c.Secret = append(c.Secret, secret.Value())
	}
	c.Env = append(c.Env[:len(c.Env):len(c.Env)], "CREDENTIALS_DIRECTORY="+dir)
	return nil
}
