package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

const (
	maxFiles        = 1000
	maxIncludeDepth = 16
	maxTotalBytes   = 16 << 20
)

// store is where files come from: the disk, or a bundle.
type store interface {
	read(path string) ([]byte, error)
	glob(pattern string) ([]string, error)
	abs(path string) string
	readMaterial(path string) ([]byte, error)
	mode(path string) (mode fs.FileMode, known bool)
}

// disk reads real files.
type disk struct{}

// read refuses to read more than a configuration may have, so that a device or a log named by mistake does not fill the memory.
func (disk) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a directory")
	}
	return io.ReadAll(io.LimitReader(f, kdl.MaxBytes+1))
}

func (disk) glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// abs is the absolute form of a path, or the path itself where there is none.
func (disk) abs(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// reader gathers the nodes of a file and of everything it includes.
type reader struct {
	store  store
	report *report
	expand *expander
	files  map[string][]byte   // by absolute path
	order  []string            // absolute paths in the order of reading
	globs  map[string][]string // absolute pattern to what it matched
	total  int
	main   *kdl.Source

	material map[string][]byte // contents of files that are named, by absolute path

	incomplete bool // a file could not be read or parsed
}

// file reads one file. open are the files being read, from the main file down.
func (r *reader) file(name string, from kdl.Span, open []string) []*kdl.Node {
	path := r.store.abs(name)
	if slices.Contains(open, path) {
		r.report.fail(from, "include-cycle", "", "%s includes itself: %s", name, chain(open, path))
		return nil
	}
	if _, seen := r.files[path]; seen {
		r.report.fail(from, "include-twice", "", "%s is already included", name)
		return nil
	}
	data, err := r.store.read(path)
	if err != nil {
		r.unreadable(name, from, err)
		return nil
	}
	r.files[path] = data
	r.order = append(r.order, path)
	r.total += len(data)
	if len(r.order) > maxFiles || r.total > maxTotalBytes {
		r.report.fail(from, "include-limit", "", "the configuration has more than %d files or %s", maxFiles, showSize(maxTotalBytes))
		return nil
	}
	return r.parse(name, data, append(open, path))
}

// chain shows the way from path back to itself, as seen from the main file's folder.
func chain(open []string, path string) string {
	var names []string
	for _, p := range append(slices.Clone(open[slices.Index(open, path):]), path) {
		if rel, err := filepath.Rel(filepath.Dir(open[0]), p); err == nil {
			p = rel
		}
		names = append(names, p)
	}
	return strings.Join(names, " → ")
}

func (r *reader) unreadable(name string, from kdl.Span, err error) {
	r.incomplete = true
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if from.Source == nil {
		from = kdl.Span{Source: &kdl.Source{Name: name}}
		r.report.names = append(r.report.names, name)
	}
	r.report.fail(from, "file", "", "cannot read %s: %v", name, err)
}

func (r *reader) parse(name string, data []byte, open []string) []*kdl.Node {
	r.report.names = append(r.report.names, name)
	doc, errs := kdl.Parse(name, data)
	if r.main == nil {
		r.main = &kdl.Source{Name: name, Text: data}
	}
	for _, e := range errs {
		r.report.fail(e.Span, e.Code, e.Hint, "%s", e.Message)
	}
	if doc == nil {
		r.incomplete = true
		return nil
	}
	r.expand.nodes(doc.Nodes, false)
	var out []*kdl.Node
	for _, n := range doc.Nodes {
		if n.Name == "include" {
			out = append(out, r.include(name, n, open)...)
		} else {
			out = append(out, n)
		}
	}
	return out
}

// include reads the files that an include line names, in the order of their names.
func (r *reader) include(name string, n *kdl.Node, open []string) []*kdl.Node {
	if len(n.Args) == 0 || len(n.Props) > 0 || n.Block {
		r.report.fail(n.NameSpan, "include-form", `write include "conf.d/*.kdl"`, "include takes the paths of files and nothing else")
		return nil
	}
	if len(open) >= maxIncludeDepth {
		r.report.fail(n.NameSpan, "include-limit", "", "includes are nested more than %d deep", maxIncludeDepth)
		return nil
	}
	var out []*kdl.Node
	for _, arg := range n.Args {
		if arg.Kind != kdl.String || arg.Str == "" {
			r.report.fail(arg.Span, "include-form", "", "%v", wrongType("the path of a file", arg))
			continue
		}
		pattern := arg.Str
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(name), pattern)
		}
		out = append(out, r.pattern(pattern, arg, open)...)
	}
	return out
}

func (r *reader) pattern(pattern string, arg kdl.Value, open []string) []*kdl.Node {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return r.file(pattern, arg.Span, open)
	}
	absolute := r.store.abs(pattern)
	matches, err := r.store.glob(absolute)
	if err != nil {
		r.report.fail(arg.Span, "include-form", "", "cannot read the pattern %s: %v", kdl.Quote(arg.Str), err)
		return nil
	}
	slices.Sort(matches)
	r.globs[absolute] = matches
	if len(matches) == 0 {
		r.report.warn(arg.Span, "include-empty", "", "no file matches %s", kdl.Quote(arg.Str))
	}
	var out []*kdl.Node
	for _, m := range matches {
		// Named as the pattern is: relative when that is relative.
		shown := m
		if !filepath.IsAbs(pattern) {
			if rel, err := filepath.Rel(strings.TrimSuffix(absolute, pattern), m); err == nil && strings.HasSuffix(absolute, pattern) {
				shown = rel
			}
		}
		out = append(out, r.file(shown, arg.Span, open)...)
	}
	return out
}

// hash is the SHA-256 over every source, every file named and every environment value used, in hex.
func (r *reader) hash(main string, scaled map[string]Scaling) string {
	h := sha256.New()
	add := func(s string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	add(main)
	for _, path := range r.order {
		add(path)
		if data, ok := r.material[path]; ok {
			add(string(data))
		} else {
			add(string(r.files[path]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.expand.used)) {
		if value := r.expand.used[name]; value != nil {
			add(name + "=" + *value)
		} else {
			add(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scaled)) {
		s := scaled[name]
		add(name + "=" + strconv.Itoa(s.Instances) + "/" + strconv.Itoa(s.Written))
	}
	return hex.EncodeToString(h.Sum(nil))
}
