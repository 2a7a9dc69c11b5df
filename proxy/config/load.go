package config

import "errors"

// EmbeddedStarter is the path of the built-in configuration: a status page on 127.0.0.1:8080.
const EmbeddedStarter = "embedded:starter"

// Options are the optional facts of a Load.
type Options struct {
	LookupEnv func(string) (string, bool) // for ${VAR}; nil = os.LookupEnv
}

// Loaded is a valid configuration and everything known about where it came from.
type Loaded struct {
	Config   Config
	Warnings Diagnostics
	Path     string   // as given to Load
	Files    []string // absolute paths of every file read, to watch; none for the embedded starter
	Globs    []string // absolute include patterns, to watch for new files
	Hash     string   // hex SHA-256 over the sources and the environment values they use
}

// Load reads, decodes and checks the configuration at path: a file, "bundle:/path" or EmbeddedStarter.
// An invalid configuration gives Diagnostics with every error of every file.
func Load(path string, o Options) (*Loaded, error) {
	return nil, errors.New("cannot load configuration: not built yet")
}

// WriteBundle writes a snapshot that Load("bundle:"+path) turns into the same Loaded, whatever happens to the files later.
func (l *Loaded) WriteBundle(path string) error {
	return errors.New("cannot write bundle: not built yet")
}
