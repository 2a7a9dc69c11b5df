package match

import (
	"fmt"
	"slices"
	"strings"
)

// Exact matches whole paths.
type Exact struct {
	Fold  bool // ASCII case does not matter; set before Add
	paths map[string]struct{}
}

// Add adds a path.
func (e *Exact) Add(entry []byte) error {
	path, err := checkPath(entry, e.Fold)
	if err != nil {
		return err
	}
	if e.paths == nil {
		e.paths = map[string]struct{}{}
	}
	e.paths[path] = struct{}{}
	return nil
}

// Finish makes the matcher ready.
func (e *Exact) Finish() {}

// Len returns the number of distinct entries.
func (e *Exact) Len() int { return len(e.paths) }

// Match looks path up.
func (e *Exact) Match(path string) (string, bool) {
	_, ok := e.paths[path]
	return path, ok
}

// Below matches a path and everything below it: "/admin" matches "/admin" and "/admin/x", not "/administrator". "/" matches everything.
type Below struct {
	Exact
}

// Add adds a path; a trailing slash says nothing.
func (b *Below) Add(entry []byte) error {
	text := strings.TrimRight(string(entry), "/")
	if text == "" && len(entry) > 0 {
		text = "/"
	}
	return b.Exact.Add([]byte(text))
}

// Match looks path and its ancestors up, the nearest first.
func (b *Below) Match(path string) (string, bool) {
	if len(b.paths) == 0 {
		return "", false
	}
	for i := len(path); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if entry, ok := b.Exact.Match(path[:i]); ok {
			return entry, true
		}
	}
	if strings.HasPrefix(path, "/") {
		return b.Exact.Match("/")
	}
	return "", false
}

// Prefixes matches the beginning of a path as text: "/wp-" matches "/wp-login.php".
type Prefixes struct {
	Fold bool     // ASCII case does not matter; set before Add
	list []string // sorted; after Finish none begins with another one
}

// Add adds a prefix.
func (p *Prefixes) Add(entry []byte) error {
	path, err := checkPath(entry, p.Fold)
	if err != nil {
		return err
	}
	p.list = append(p.list, path)
	return nil
}

// Finish sorts the list and drops what a shorter entry covers, so that only the predecessor of a path can be its prefix.
func (p *Prefixes) Finish() {
	slices.Sort(p.list)
	kept := p.list[:0]
	for _, entry := range p.list {
		if n := len(kept); n == 0 || !strings.HasPrefix(entry, kept[n-1]) {
			kept = append(kept, entry)
		}
	}
	p.list = slices.Clip(kept)
}

// Len returns the number of distinct entries.
func (p *Prefixes) Len() int { return len(p.list) }

// Match returns the entry that path begins with.
func (p *Prefixes) Match(path string) (string, bool) {
	i, exact := slices.BinarySearch(p.list, path)
	if exact {
		return path, true
	}
	if i > 0 && strings.HasPrefix(path, p.list[i-1]) {
		return p.list[i-1], true
	}
	return "", false
}

// checkPath refuses entries that no path can equal.
func checkPath(entry []byte, fold bool) (string, error) {
	path := string(entry)
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("path %q does not begin with /", path)
	}
	if strings.ContainsAny(path, "?#") {
		return "", fmt.Errorf("path %q holds ? or #; a query is matched by block-query", path)
	}
	if fold {
		path = lowerASCII(path)
	}
	return path, nil
}
