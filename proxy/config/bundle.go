package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// bundleFormat is the version of the bundle file.
const bundleFormat = 1

// bundle is a configuration with everything that Load would read, so that it can be loaded again after its files have changed.
// It may hold secrets from the environment and private keys, and is readable by its owner only.
type bundle struct {
	Format int                 `json:"format"`
	Path   string              `json:"path"`  // as it was given to Load: positions name it
	Dir    string              `json:"dir"`   // the working directory then
	Files  map[string]string   `json:"files"` // text by absolute path
	Globs  map[string][]string `json:"globs"` // what each absolute pattern matched
	Env    map[string]*string  `json:"env"`   // null = was not set

	Material map[string][]byte  `json:"material,omitempty"` // certificates and keys, by absolute path
	Scaled   map[string]Scaling `json:"scaled,omitempty"`
}

// WriteBundle writes a snapshot that Load("bundle:"+path) turns into the same Loaded, whatever happens to the files later.
// It appears at path at once or not at all.
func (l *Loaded) WriteBundle(path string) error {
	b := bundle{Format: bundleFormat, Path: l.Path, Dir: l.dir, Files: map[string]string{}, Globs: l.matches, Env: l.env, Material: l.material, Scaled: l.Scaled}
	for file, text := range l.texts {
		b.Files[file] = string(text)
	}
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return fmt.Errorf("cannot write bundle: %v", err)
	}
	if err := writeWhole(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write bundle: %v", err)
	}
	return nil
}

// writeWhole replaces a file in one step.
func writeWhole(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f, data, mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func write(f *os.File, data []byte, mode fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// maxBundle bounds a bundle: the sources, escaped, and their environment.
const maxBundle = 8 * maxTotalBytes

func readBundle(path string) (*bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read bundle: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBundle))
	if err != nil {
		return nil, fmt.Errorf("cannot read bundle: %v", err)
	}
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("cannot read bundle: %v", err)
	}
	if b.Format != bundleFormat {
		return nil, fmt.Errorf("cannot read bundle: its format is %d, this program reads %d", b.Format, bundleFormat)
	}
	return &b, nil
}

// read serves a file's text.
func (b *bundle) read(path string) ([]byte, error) {
	text, ok := b.Files[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("is not in the bundle")}
	}
	if len(text) > kdl.MaxBytes {
		return []byte(text)[:kdl.MaxBytes+1], nil
	}
	return []byte(text), nil
}

func (b *bundle) glob(pattern string) ([]string, error) { return b.Globs[pattern], nil }

// abs resolves a path as the program that wrote the bundle did, wherever this one runs.
func (b *bundle) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(b.Dir, path)
}

func (b *bundle) lookup(name string) (string, bool) {
	if v := b.Env[name]; v != nil {
		return *v, true
	}
	return "", false
}
