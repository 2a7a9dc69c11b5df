package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// material is a file that the configuration names and whose content belongs to it: a certificate, a key, a list.
type material struct {
	path   string // resolved, as it stands in the Config
	at     kdl.Span
	secret bool
}

// resolve makes the path of a named file relative to what the path of the naming file is relative to.
func resolve(at kdl.Span, path string) string {
	if filepath.IsAbs(path) || at.Source == nil {
		return path
	}
	return filepath.Join(filepath.Dir(at.Source.Name), path)
}

// file notes a named file and gives its resolved path.
func (d *decoder) file(t *Type, at kdl.Span, path string) string {
	path = resolve(at, path)
	d.material = append(d.material, material{path, at, t.Name == secretType})
	return path
}

func (t *Type) namesFile() bool { return t.Name == fileType || t.Name == secretType }

// readMaterial reads every named file once.
func (r *reader) readMaterial(files []material) {
	for _, m := range files {
		path := r.store.abs(m.path)
		if m.secret {
			r.judgeMode(m, path)
		}
		if _, seen := r.material[path]; seen {
			continue
		}
		data, err := r.store.readMaterial(path)
		switch {
		case err != nil:
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			r.report.fail(m.at, "file", "", "cannot read %s: %v", m.path, err)
			continue
		case len(data) > kdl.MaxBytes:
			r.report.fail(m.at, "file", "", "cannot read %s: it has more than %s", m.path, showSize(kdl.MaxBytes))
			continue
		}
		if r.total += len(data); r.total > maxTotalBytes {
			r.report.fail(m.at, "include-limit", "", "the configuration and the files it names have more than %s", showSize(maxTotalBytes))
			return
		}
		r.material[path] = data
		r.order = append(r.order, path)
	}
}

// judgeMode warns of a private key that others than its owner and group can read, or that its group can write.
func (r *reader) judgeMode(m material, path string) {
	mode, known := r.store.mode(path)
	if known && mode.Perm()&0o027 != 0 {
		r.report.warn(m.at, "key-permissions", "chmod 600 "+m.path, "the secret file %s has mode %04o: others can read or change it", m.path, mode.Perm())
	}
}

func (d disk) readMaterial(path string) ([]byte, error) { return d.read(path) }

func (disk) mode(path string) (fs.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode(), true
}

func (b *bundle) readMaterial(path string) ([]byte, error) {
	data, ok := b.Material[path]
	if !ok {
		return nil, errors.New("is not in the bundle")
	}
	return data, nil
}

// mode is not known: the program that wrote the bundle has judged it.
func (*bundle) mode(string) (fs.FileMode, bool) { return 0, false }

// Material is the content of a file that the configuration names, as it was when the configuration was loaded. path is as in the Config.
func (l *Loaded) Material(path string) ([]byte, error) {
	data, ok := l.material[l.absolute(path)]
	if !ok {
		return nil, fmt.Errorf("%s was not read with the configuration", path)
	}
	return slices.Clone(data), nil
}

func (l *Loaded) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.dir, path)
}

// Warn adds a warning about the value at path, as Fault makes an error of it.
func (l *Loaded) Warn(path, code, message string) {
	d := l.Fault(path, code, message)[0]
	d.Severity = SeverityWarning
	l.Warnings = append(l.Warnings, d)
}
