package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// maxEnvFile bounds an environment file.
const maxEnvFile = 1 << 20

// envFile reads NAME=value lines. Empty lines and those that begin with # are skipped; a value may stand in double quotes with Go's escapes or in
// single quotes. The file is watched like the configuration.
func (p *Plan) envFile(path string) ([]config.NameValue, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read env-file: %v", err)
	}
	if len(text) > maxEnvFile {
		return nil, fmt.Errorf("env-file %s is larger than %d bytes", path, maxEnvFile)
	}
	if abs, err := filepath.Abs(path); err == nil {
		p.Watched = append(p.Watched[:len(p.Watched):len(p.Watched)], abs)
	}
	return parseEnv(path, string(text))
}

func parseEnv(path, text string) ([]config.NameValue, error) {
	var vars []config.NameValue
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t\x00") {
			return nil, fmt.Errorf("%s:%d:1: not a NAME=value line", path, n)
		}
		value = strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(value, `"`):
			unquoted, err := strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("%s:%d:%d: bad quoted value", path, n, strings.Index(line, `"`)+1)
			}
			value = unquoted
		case len(value) > 1 && strings.HasPrefix(value, "'") && strings.HasSuffix(value, "'"):
			value = value[1 : len(value)-1]
		}
		if strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("%s:%d:1: a NUL byte in the value", path, n)
		}
		vars = append(vars, config.NameValue{Name: name, Value: value, HasValue: true})
	}
	return vars, nil
}
