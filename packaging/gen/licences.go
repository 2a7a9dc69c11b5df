package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// licences writes the licence texts of every module that is linked into a program, and of Go itself, sorted by module path.
func licences(path string) error {
	out, err := exec.Command("go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", "./proxy", "./stack", "./agents/...").Output()
	if err != nil {
		return fmt.Errorf("cannot list modules: %w", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("cannot find Go: %w", err)
	}
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	modules = append(slices.Compact(modules), "Go standard "+strings.TrimSpace(string(root)))
	var b strings.Builder
	for _, m := range modules {
		fields := strings.Fields(m)
		if len(fields) != 3 {
			continue
		}
		texts, err := licenceTexts(fields[2])
		if err != nil {
			return err
		}
		if len(texts) == 0 {
			return fmt.Errorf("module %s has no licence file", fields[0])
		}
		fmt.Fprintf(&b, "==== %s %s\n\n%s\n", fields[0], fields[1], strings.Join(texts, "\n"))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func licenceTexts(dir string) ([]string, error) {
	var texts []string
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "COPYING*", "NOTICE*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			texts = append(texts, string(raw))
		}
	}
	return texts, nil
}
