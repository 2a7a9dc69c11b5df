package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// FindFile is the configuration used when none is named: ./sentinel.kdl, /etc/sentinel/sentinel.kdl, else EmbeddedStarter.
func FindFile() string {
	for _, path := range []string{"sentinel.kdl", "/etc/sentinel/sentinel.kdl"} {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return EmbeddedStarter
}

// RuntimeDir is the directory of sockets and state: stack.runtime-dir, else $SENTINEL_RUNTIME_DIR, $RUNTIME_DIRECTORY (the
// first of several), $XDG_RUNTIME_DIR/sentinel, else "".
func RuntimeDir(c Config, getenv func(string) string) string {
	if c.Stack.RuntimeDir != "" {
		return c.Stack.RuntimeDir
	}
	if dir := getenv("SENTINEL_RUNTIME_DIR"); dir != "" {
		return dir
	}
	if list := filepath.SplitList(getenv("RUNTIME_DIRECTORY")); len(list) > 0 && list[0] != "" {
		return list[0]
	}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "sentinel")
	}
	return ""
}

// AgentSockets are the paths of an agent's sockets, one for each instance: its own unix-socket, else <runtimeDir>/agents/<name>.sock, or
// <name>.1.sock and so on when there are several.
func AgentSockets(a Agent, runtimeDir string) []string {
	if len(a.UnixSockets) > 0 {
		return a.UnixSockets
	}
	if a.Instances <= 1 {
		return []string{filepath.Join(runtimeDir, "agents", a.Name+".sock")}
	}
	sockets := make([]string, a.Instances)
	for i := range sockets {
		sockets[i] = filepath.Join(runtimeDir, "agents", fmt.Sprintf("%s.%d.sock", a.Name, i+1))
	}
	return sockets
}
