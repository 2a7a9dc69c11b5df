package plan

import (
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// passed are the variables of the supervisor's environment that services get unasked: what libraries look at, and nothing that could be a secret.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "NO_COLOR", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*",
	"GODEBUG", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

// private are the variables that concern the supervisor alone, whatever pass-env says.
var private = map[string]bool{
	"NOTIFY_SOCKET": true, "WATCHDOG_USEC": true, "WATCHDOG_PID": true, "LISTEN_FDS": true, "LISTEN_PID": true, "LISTEN_FDNAMES": true, "CREDENTIALS_DIRECTORY": true,
	"SENTINEL_LEADER": true, "SENTINEL_SOCKET": true, "SENTINEL_AGENT": true, "SENTINEL_RUNTIME_DIR": true, "SENTINEL_CONFIG": true,
}

// passes reports whether a variable is among the patterns.
func passes(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if base, all := strings.CutSuffix(p, "*"); all {
			return strings.HasPrefix(name, base)
		}
		return name == p
	})
}

// environment is that of the supervisor, as far as it is passed on, with vars on top, each name once.
func environment(h Host, runtimeDir string, pass []string, vars []config.NameValue) []string {
	vars = append([]config.NameValue{{Name: "SENTINEL_RUNTIME_DIR", Value: runtimeDir}}, vars...)
	last := map[string]int{}
	for i, v := range vars {
		last[v.Name] = i
	}
	var env []string
	for _, kv := range h.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, set := last[name]; !set && !private[name] && (passes(name, passed) || passes(name, pass)) {
			env = append(env, kv)
		}
	}
	for i, v := range vars {
		if last[v.Name] == i {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	return env
}
