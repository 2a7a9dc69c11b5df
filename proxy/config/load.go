package config

import (
	_ "embed"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// EmbeddedStarter is the path of the built-in configuration: a status page on 127.0.0.1:8080.
const EmbeddedStarter = "embedded:starter"

// bundlePrefix marks the path of a bundle, see WriteBundle.
const bundlePrefix = "bundle:"

//go:embed starter.kdl
var starter []byte

// Options are the optional facts of a Load.
type Options struct {
	LookupEnv func(string) (string, bool) // for ${VAR}; nil = os.LookupEnv
	Scale     map[string]Scaling          // by agent; nil = those of the bundle, if it is one
}

// Loaded is a valid configuration and everything known about where it came from.
type Loaded struct {
	Config   Config
	Warnings Diagnostics
	Path     string             // of the main file, also when it was loaded from a bundle
	Files    []string           // absolute paths of every file read, certificates and the like included, to watch; none for the embedded starter
	Globs    []string           // absolute include patterns, to watch for new files
	Hash     string             // hex SHA-256 over the sources, the files they name, the environment values they use and the scalings
	Scaled   map[string]Scaling // those in effect, by agent

	dir      string              // what relative paths are relative to
	texts    map[string][]byte   // by absolute path
	material map[string][]byte   // of the files that are named, by absolute path
	matches  map[string][]string // what each pattern of Globs matched
	env      map[string]*string  // the variables asked for; nil = unset
	origins  map[string]kdl.Span // where each value was written
	lists    map[string][]kdl.Span
	written  map[kdl.Span]string // strings before their variables were replaced
}

// Load reads, decodes and checks the configuration at path: a file, "bundle:/path" or EmbeddedStarter.
// An invalid configuration gives Diagnostics with every error of every file.
func Load(path string, o Options) (*Loaded, error) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if file, ok := strings.CutPrefix(path, bundlePrefix); ok {
		b, err := readBundle(file)
		if err != nil {
			return nil, Diagnostics{{File: file, Severity: SeverityError, Code: "bundle", Message: err.Error()}}
		}
		if o.Scale == nil {
			o.Scale = b.Scaled
		}
		return load(b.Path, b, b.lookup, o.Scale)
	}
	return load(path, disk{}, o.LookupEnv, o.Scale)
}

// load reads the main file and everything it names from files.
func load(path string, files store, lookup func(string) (string, bool), scale map[string]Scaling) (*Loaded, error) {
	r := &report{}
	in := &reader{
		store: files, report: r, expand: newExpander(lookup, r),
		files: map[string][]byte{}, globs: map[string][]string{}, material: map[string][]byte{},
	}
	var nodes []*kdl.Node
	if path == EmbeddedStarter {
		nodes = in.parse(path, starter, nil)
	} else {
		nodes = in.file(path, kdl.Span{}, nil)
	}
	l := &Loaded{
		Path: path, Globs: slices.Sorted(maps.Keys(in.globs)),
		dir: files.abs("."), texts: in.files, material: in.material, matches: in.globs, env: in.expand.used, written: in.expand.written,
	}
	if in.incomplete && len(nodes) == 0 {
		return nil, r.err()
	}
	in.readMaterial(l.decode(r, in.expand, nodes, in.main, in.incomplete, scale))
	l.Files, l.Hash = slices.Clone(in.order), in.hash(path, l.Scaled)
	if err := r.err(); err != nil {
		return nil, err
	}
	l.Warnings = r.warnings.sort(r.names)
	return l, nil
}

// decode brings the nodes into canonical spelling, decodes and checks them. When a file is missing from them (incomplete), what
// they lack proves nothing. It returns the files that the configuration names.
func (l *Loaded) decode(r *report, x *expander, nodes []*kdl.Node, main *kdl.Source, incomplete bool, scale map[string]Scaling) []material {
	root := Schema()
	whole := &kdl.Node{Children: nodes}
	(&normalizer{report: r}).block(root, whole)
	top := kdl.Span{Source: main, Start: kdl.Pos{Line: 1, Col: 1}, End: kdl.Pos{Line: 1, Col: 1}}
	d := &decoder{config: &l.Config, report: r, expand: x, origins: map[string]kdl.Span{}, lists: map[string][]kdl.Span{}, unsure: map[string]bool{}}
	d.decode(root, whole.Children, top)
	l.origins, l.lists = d.origins, d.lists
	finish(&l.Config)
	l.scale(scale)
	if !incomplete {
		(&checker{Config: &l.Config, report: r, origins: d.origins, lists: d.lists, unsure: d.unsure, top: top, partial: len(r.errors) > 0}).run()
	}
	return d.material
}

// finish fills in what a default cannot say because it depends on other values.
func finish(c *Config) {
	for i := range c.Agents {
		if a := &c.Agents[i]; a.Type == "" {
			a.Type = a.Name
		}
	}
}

// Fault is a finding about the value at path (as in "listeners.web.address"), for checks that need more than the text: a file
// that cannot be opened, an address that cannot be bound.
func (l *Loaded) Fault(path, code, message string) Diagnostics {
	at, ok := l.origins[path]
	for !ok && path != "" {
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
		at, ok = l.origins[path]
	}
	if !ok {
		at = kdl.Span{Source: &kdl.Source{Name: l.Path}}
	}
	return Diagnostics{diagnostic(at, SeverityError, code, "", message)}
}
