package plan

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
)

// keptByProxy are the capabilities without which a proxy of root could not open files and ports that it could open so far.
var keptByProxy = []string{"chown", "dac_override", "dac_read_search", "fowner", "net_bind_service"}

// proxyBox is what the proxy may do. It needs the network, and sockets of others which may come and go, so it has no namespaces of its own; the files it may open are those that the configuration names. A program that the
// operator names may need anything: it loses only what no proxy needs.
// The directories are to be made if they are not there.
func (p *Plan) proxyBox(environ []string) (box sandbox.Policy, dirs []string) {
	b := p.config.Stack.Proxy.Sandbox
	switch {
	case b == nil && len(p.config.Stack.Proxy.Command) > 0:
		return sandbox.Policy{NoNewPrivs: true, Seccomp: true}, nil
	case b == nil:
		b = &config.Sandbox{Enabled: true, Filesystem: "restricted", NoNewPrivs: true, Seccomp: "default"}
	case !b.Enabled:
		return sandbox.Policy{}, nil
	}
	box = sandbox.Policy{NoNewPrivs: b.NoNewPrivs, DropCaps: true, Capabilities: b.Capabilities, Seccomp: b.Seccomp == "default", Files: b.Filesystem == "restricted", SharedView: true, Read: cleaned(b.Read), Write: cleaned(b.Write)}
	if len(b.Capabilities) == 0 {
		box.Capabilities = keptByProxy
	}
	if box.Files {
		dirs = p.proxyFiles(&box, environ)
	}
	return box, dirs
}

// proxyFiles adds what the configuration names. Of a file it is the directory, since files are replaced by new ones. The directories that it returns are to be made if they are not there.
func (p *Plan) proxyFiles(box *sandbox.Policy, environ []string) []string {
	read, logs, storages := p.config.ProxyFiles()
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); name == "SSL_CERT_FILE" || name == "SSL_CERT_DIR" {
			box.Read = append(box.Read, strings.Split(value, ":")...)
		}
	}
	for _, path := range read {
		if dir := absolute(filepath.Dir(path)); dir != "/" {
			path = dir
		}
		box.Read = append(box.Read, path)
	}
	box.Read = append(box.Read, p.RuntimeDir)
	for _, path := range logs {
		dir := absolute(filepath.Dir(path))
		if dir == "/" || strings.HasPrefix(dir+"/", "/dev/") || strings.HasPrefix(dir+"/", "/proc/") { // "/dev/stdout" is whatever this process has been given: no rule can name it
			box.Files, box.Read, box.Write = false, nil, nil
			return nil
		}
		box.Write = append(box.Write, dir)
	}
	var dirs []string
	for _, dir := range storages {
		dirs = append(dirs, absolute(dir))
	}
	box.Write = append(box.Write, dirs...)
	for _, list := range []*[]string{&box.Read, &box.Write} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return dirs
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
