package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Named priorities of routes.
var priorities = map[string]int64{"low": 10, "normal": 50, "high": 100, "critical": 1000}

// priority is a number, or a word that stands for one.
func priority() *Type {
	t := &Type{Name: "priority", Values: []string{"low", "normal", "high", "critical"}, Min: -1_000_000, Max: 1_000_000}
	t.parse = func(t *Type, v kdl.Value, _ string) (any, error) {
		switch v.Kind {
		case kdl.Int:
			return v.Int, inRange(v.Int, t.Min, t.Max, strconv.FormatInt)
		case kdl.String:
			if n, ok := priorities[strings.ToLower(v.Str)]; ok {
				return n, nil
			}
			return nil, &choiceError{got: v.Str, valid: append(t.Values[:4:4], "a number")}
		}
		return nil, wrongType("a number or one of "+quoteAll(t.Values), v)
	}
	return t
}

// absolutePath is a URL path to match: it starts with a slash and holds neither query nor control bytes.
func absolutePath() *Type {
	return text("path", func(s string) error {
		switch {
		case !strings.HasPrefix(s, "/"):
			return fmt.Errorf("a path must start with \"/\", not %s", kdl.Quote(s))
		case strings.ContainsAny(s, "?#"):
			return fmt.Errorf("the path %s must not hold a query or fragment: match these with query-param", kdl.Quote(s))
		}
		return checkPath(s)
	})
}

// checkPath refuses what no request can match, because such requests are refused: broken escapes, control characters and paths
// that lead above the root.
func checkPath(s string) error {
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return fmt.Errorf("the path %s has a broken %%-escape", kdl.Quote(s))
	}
	depth := 0
	for segment := range strings.SplitSeq(decoded, "/") {
		switch segment {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return fmt.Errorf("the path %s leads above the root", kdl.Quote(s))
			}
		default:
			depth++
		}
	}
	return noControl(decoded)
}

func noControl(s string) error {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return fmt.Errorf("%s holds a control character", kdl.Quote(s))
		}
	}
	return nil
}

// maxRegex bounds the text of one pattern and maxProgram the size of what it compiles to.
const (
	maxRegex   = 4096
	maxProgram = 20_000
)

// regex is an RE2 pattern.
func regex() *Type {
	return text("regex", func(s string) error {
		if s == "" || len(s) > maxRegex {
			return fmt.Errorf("a regular expression must have 1 to %d bytes", maxRegex)
		}
		parsed, err := syntax.Parse(s, syntax.Perl)
		if err != nil {
			return fmt.Errorf("cannot read the regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil || len(program.Inst) > maxProgram {
			return fmt.Errorf("the regular expression is too large")
		}
		_, err = regexp.Compile(s)
		return err
	})
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// checkHost accepts a DNS name or an IP address.
func checkHost(s string) error {
	if net.ParseIP(strings.Trim(s, "[]")) != nil {
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(s), ".")
	if host == "" || len(host) > 253 {
		return fmt.Errorf("%s is not a host name", kdl.Quote(s))
	}
	for label := range strings.SplitSeq(host, ".") {
		if !hostLabel.MatchString(label) {
			return fmt.Errorf("%s is not a host name", kdl.Quote(s))
		}
	}
	return nil
}

// hostPattern is a host to match, without a port; "*." in front stands for one or more labels.
func hostPattern() *Type {
	return &Type{Name: "host", parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType("a host", v)
		}
		host := strings.TrimSuffix(strings.ToLower(v.Str), ".")
		rest := strings.TrimPrefix(host, "*.")
		if strings.Contains(rest, "*") {
			return nil, fmt.Errorf("the host %s has \"*\" in a place other than the first label: use path-regex or several host lines", kdl.Quote(v.Str))
		}
		if _, _, err := net.SplitHostPort(host); err == nil && net.ParseIP(host) == nil {
			return nil, fmt.Errorf("the host %s must not have a port: the port of a request is not matched", kdl.Quote(v.Str))
		}
		return host, checkHost(rest)
	}}
}

// hostPort is where a target listens: a DNS name or an address, and a port.
func hostPort() *Type {
	return text("address", func(s string) error {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return fmt.Errorf(`cannot read the address %s: write a host and a port, as "127.0.0.1:8081" or "app-1:8080"`, kdl.Quote(s))
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("the port of %s is out of range: 1 to 65535", kdl.Quote(s))
		}
		return checkHost(host)
	})
}

// unixScheme begins an address that is the path of a Unix socket.
const unixScheme = "unix:"

// targetAddress is where a target listens: on the network or on a Unix socket.
func targetAddress() *Type {
	return text("address", func(s string) error {
		if path, ok := strings.CutPrefix(s, unixScheme); ok {
			return checkSocketPath(path)
		}
		return hostPort().check(s)
	})
}

// token is a method or another word of RFC 9110 section 5.6.2.
func token(name string) *Type {
	return text(name, func(s string) error {
		if !isToken(s) {
			return fmt.Errorf("%s cannot be %s", kdl.Quote(s), article(name))
		}
		return nil
	})
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// checkHeaderValue refuses what would end a header line early.
func checkHeaderValue(s string) error {
	if strings.Trim(s, " \t") != s {
		return fmt.Errorf("the header value %s must not start or end with a space", kdl.Quote(s))
	}
	return noControl(strings.ReplaceAll(s, "\t", " "))
}

// framingFields decide where a message ends and how the connection goes on, or are for one hop only: they are the proxy's alone. Package filter has the same rule.
var framingFields = []string{"connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
	"transfer-encoding", "upgrade"}

// editableField is the name of a header that rules may set, add, rename and remove.
func editableField() *Type {
	return text("header name", func(s string) error {
		if !isToken(s) {
			return fmt.Errorf("%s cannot be a header name", kdl.Quote(s))
		}
		if slices.Contains(framingFields, strings.ToLower(s)) {
			return fmt.Errorf("the header %s frames the message or is for one hop only, and cannot be edited", kdl.Quote(s))
		}
		return nil
	})
}

func headerValue() *Type { return text("header value", checkHeaderValue) }

// maxSocketPath is what a Unix socket address holds on Linux, without the final zero byte.
const maxSocketPath = 107

// socketPath is the absolute path of a Unix socket.
func socketPath() *Type {
	return text("path", checkSocketPath)
}

func checkSocketPath(s string) error {
	if !filepath.IsAbs(s) || len(s) > maxSocketPath {
		return fmt.Errorf("%s cannot be a socket: write an absolute path of at most %d bytes", kdl.Quote(s), maxSocketPath)
	}
	return noControl(s)
}

// absoluteDir is the absolute path of a directory.
func absoluteDir() *Type {
	return text("path", func(s string) error {
		if !filepath.IsAbs(s) {
			return fmt.Errorf("%s must be an absolute path", kdl.Quote(s))
		}
		return nil
	})
}

// absoluteFile is the absolute path of a file that is read while the proxy runs.
func absoluteFile() *Type { return absoluteDir() }

// status is an HTTP status code, as a number or in quotes.
func status() *Type {
	return &Type{Name: "status", Min: 100, Max: 599, parse: func(t *Type, v kdl.Value, _ string) (any, error) {
		n := v.Int
		if v.Kind == kdl.String {
			var err error
			if n, err = strconv.ParseInt(v.Str, 10, 64); err != nil {
				return nil, wrongType("a status code", v)
			}
		} else if v.Kind != kdl.Int {
			return nil, wrongType("a status code", v)
		}
		return n, inRange(n, t.Min, t.Max, strconv.FormatInt)
	}}
}

// signal is the name of a signal that asks a process to end.
func signal() *Type {
	return keyword("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL").or(
		"SIGTERM", "TERM", "SIGINT", "INT", "SIGQUIT", "QUIT", "SIGHUP", "HUP", "SIGUSR1", "USR1", "SIGUSR2", "USR2", "SIGKILL", "KILL")
}

// probeAddress is host:port, for http with a path.
func probeAddress(withPath bool) *Type {
	name := "address"
	return text(name, func(s string) error {
		address, path := s, ""
		if withPath {
			address = strings.TrimPrefix(address, "http://")
			if i := strings.IndexByte(address, '/'); i >= 0 {
				address, path = address[:i], address[i:]
			}
		}
		if err := noControl(path); err != nil {
			return err
		}
		return hostPort().check(address)
	})
}

// absoluteTarget is a path with an optional query, to ask a target for.
func absoluteTarget() *Type {
	return text("path", func(s string) error {
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, " #") {
			return fmt.Errorf("%s cannot be asked for: write a path that starts with \"/\"", kdl.Quote(s))
		}
		return noControl(s)
	})
}

// hostHeader is the value of a Host header: a host with or without a port.
func hostHeader() *Type {
	return text("host", func(s string) error {
		if strings.Contains(s, ":") && checkHost(s) != nil {
			return hostPort().check(s)
		}
		return checkHost(s)
	})
}

// schemaVersion is the version of the grammar, major.minor.
func schemaVersion() *Type {
	return text("version", func(s string) error {
		if s != "1.0" {
			return fmt.Errorf("the schema version %s is not known: this program reads \"1.0\"", kdl.Quote(s))
		}
		return nil
	})
}

// environmentName is the name of an environment variable.
func environmentName() *Type {
	return text("variable name", func(s string) error {
		if !variableName.MatchString(s) {
			return fmt.Errorf("%s cannot be the name of an environment variable", kdl.Quote(s))
		}
		return nil
	})
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check runs a text type over a plain string.
func (t *Type) check(s string) error {
	_, err := t.parse(t, kdl.Value{Kind: kdl.String, Str: s}, "")
	return err
}

// apiURL is the base of an HTTP API.
func apiURL() *Type {
	return text("URL", func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf(`%s is no URL of an API: write "http://host:port" or "https://host:port"`, kdl.Quote(s))
		}
		return nil
	})
}
