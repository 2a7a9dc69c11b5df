package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
)

// maxSecret bounds the value of a secret.
const maxSecret = 64 << 10

// Secret is a value that a service gets in a file.
type Secret struct {
	Name string
	hash string // of the value, so that a changed one makes another process
	text []byte
}

// Value is what the file holds. It is on no page and in no log.
func (s *Secret) Value() []byte { return s.text }

// String tells the name only.
func (s Secret) String() string { return s.Name }

// policy is what a process may do. What is not written depends on what runs: our own agents are known to need nothing but their sockets and the files that their configuration names; a program that
// somebody else wrote may need anything that is not plainly an attack; an extra service is run as it is.
func policy(b *config.Sandbox, user, group, kind string, ours bool, configured json.RawMessage) sandbox.Policy {
	p := sandbox.Policy{User: user, Group: group}
	switch {
	case b == nil && kind == KindAgent && ours:
		b = &config.Sandbox{Enabled: true, Network: sandbox.NetworkNone, Filesystem: "restricted", PrivateTmp: true, NoNewPrivs: true, Seccomp: "default"}
	case b == nil && kind == KindAgent:
		b = &config.Sandbox{Enabled: true, Network: sandbox.NetworkHost, Filesystem: "host", NoNewPrivs: true, Seccomp: "default"}
	case b == nil || !b.Enabled:
		return p
	}
	if !b.Enabled {
		return p
	}
	p.NoNewPrivs, p.DropCaps, p.Capabilities = b.NoNewPrivs, true, b.Capabilities
	p.Seccomp, p.Network = b.Seccomp == "default", b.Network
	p.Files, p.PrivateTmp = b.Filesystem == "restricted", b.PrivateTmp
	if p.Files {
		p.Read, p.Write = cleaned(b.Read), cleaned(b.Write)
		if kind == KindAgent {
			p.Read = append(p.Read, namedFiles(configured)...)
		}
		slices.Sort(p.Read)
		p.Read = slices.Compact(p.Read)
	}
	return p
}

func cleaned(paths []string) (out []string) {
	for _, path := range paths {
		out = append(out, filepath.Clean(path))
	}
	return out
}

// namedFiles are the files and directories that an agent's own configuration names, as far as they are there. Of a file it is the directory, because files are often replaced by new ones, which are
// then other ones for the kernel; but not when that is one of the system's.
func namedFiles(configured json.RawMessage) (out []string) {
	var tree any
	if len(configured) == 0 || json.Unmarshal(configured, &tree) != nil {
		return nil
	}
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(k, x)
			}
		case []any:
			for _, x := range v {
				walk(key, x)
			}
		case string:
			if !namesFiles(key) {
				return
			}
			if path := namedPath(v); path != "" {
				out = append(out, path)
			}
		}
	}
	walk("", tree)
	return out
}

// namesFiles reports whether a key of an agent's configuration is one for files. Others may hold what looks like a path and is none, as that of a request.
func namesFiles(key string) bool {
	for _, end := range []string{"file", "directory", "database"} {
		if key == end || strings.HasSuffix(key, "-"+end) {
			return true
		}
	}
	return false
}

func namedPath(text string) string {
	path, err := filepath.Abs(text)
	if err != nil || text == "" || len(text) > 4096 {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case path == "/" || sandbox.Secret(path): // it has to be named in read
		return ""
	case err != nil: // a log that is still to be written
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || !dir.IsDir() {
			return ""
		}
	case info.IsDir():
		if !filepath.IsAbs(text) { // a word like "lists" that happens to be the name of a directory here
			return ""
		}
		return path
	}
	switch dir := filepath.Dir(path); dir {
	case "/", "/etc", "/tmp", "/var", "/var/tmp", "/usr", "/root", "/home":
		return path
	default:
		return dir
	}
}

// secrets reads the values. Their files are watched like the configuration.
func (p *Plan) secrets(list []config.Secret) ([]Secret, error) {
	var out []Secret
	for _, s := range list {
		info, err := os.Stat(s.File)
		if err != nil {
			return nil, fmt.Errorf("cannot read secret %s: %v", s.Name, err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxSecret {
			return nil, fmt.Errorf("cannot read secret %s: %s is no file of at most %d bytes", s.Name, s.File, maxSecret)
		}
		text, err := os.ReadFile(s.File)
		if err != nil {
			return nil, fmt.Errorf("cannot read secret %s: %v", s.Name, err)
		}
		if info.Mode().Perm()&0o007 != 0 {
			p.Warnings += fmt.Sprintf("warning: the file %s of secret %s can be read by everybody (mode %04o)\n", s.File, s.Name, info.Mode().Perm())
		}
		sum := sha256.Sum256(text)
		out = append(out, Secret{Name: s.Name, hash: hex.EncodeToString(sum[:]), text: text})
		p.Watched = append(p.Watched[:len(p.Watched):len(p.Watched)], s.File)
	}
	return out, nil
}
