package config

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Type decodes and checks one argument.
type Type struct {
	Name   string   // for the reference page and messages: "integer", "duration", …
	Unit   string   // canonical unit suffix of the key's name: secs, ms, bytes; "" = none
	Values []string // keywords, canonical spelling
	Later  []Later  // keywords that are refused until they work
	Min    int64    // integers; durations in nanoseconds, sizes in bytes
	Max    int64
	same   map[string]string // other spellings of keywords
	parse  func(t *Type, v kdl.Value, unit string) (any, error)
}

func (t *Type) units() []string {
	switch t.Unit {
	case "secs", "ms":
		return []string{"secs", "ms", "seconds"}
	case "bytes":
		return []string{"bytes"}
	}
	return nil
}

// wrongType is the error for a value of another kind than the key takes.
func wrongType(want string, v kdl.Value) error {
	if v.Kind == kdl.String {
		return fmt.Errorf("expected %s, got the string %s", want, kdl.Quote(v.Str))
	}
	return fmt.Errorf("expected %s, got %s", want, article(v.Kind.String()))
}

func article(noun string) string {
	switch {
	case noun == "null":
		return noun
	case strings.ContainsRune("aeiou", rune(noun[0])):
		return "an " + noun
	}
	return "a " + noun
}

// text is a string type with a check of its content.
func text(name string, check func(string) error) *Type {
	return &Type{Name: name, parse: func(t *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType(article(t.Name), v)
		}
		return v.Str, check(v.Str)
	}}
}

func str() *Type { return text("string", func(string) error { return nil }) }

func nonEmpty(name string) *Type {
	return text(name, func(s string) error {
		if s == "" {
			return fmt.Errorf("%s must not be empty", article(name))
		}
		return nil
	})
}

func integer(lo, hi int64) *Type {
	return &Type{Name: "integer", Min: lo, Max: hi, parse: func(t *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.Int {
			return nil, wrongType("an integer", v)
		}
		return v.Int, inRange(v.Int, t.Min, t.Max, strconv.FormatInt)
	}}
}

func inRange(n, lo, hi int64, show func(int64, int) string) error {
	if n < lo || n > hi {
		return fmt.Errorf("%s is out of range: %s to %s", show(n, 10), show(lo, 10), show(hi, 10))
	}
	return nil
}

func boolean() *Type {
	return &Type{Name: "boolean", parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.Bool {
			return nil, wrongType("#true or #false", v)
		}
		return v.Bool, nil
	}}
}

// keyword is one word of a list. Hyphen and underscore are the same in it, and so is case.
func keyword(values ...string) *Type {
	return &Type{Name: "keyword", Values: values, parse: func(t *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType("one of "+quoteAll(t.Values), v)
		}
		word, _ := t.word(v.Str)
		if slices.Contains(t.Values, word) {
			return word, nil
		}
		if l := findLater(t.Later, word); l != nil {
			return nil, &laterError{*l}
		}
		return nil, &choiceError{got: v.Str, valid: t.Values}
	}}
}

// or adds other spellings, given as pairs of spelling and keyword.
func (t *Type) or(spellings ...string) *Type {
	t.same = map[string]string{}
	for i := 0; i < len(spellings); i += 2 {
		t.same[plain(spellings[i])] = spellings[i+1]
	}
	return t
}

// not adds keywords that are refused until they work.
func (t *Type) not(words ...string) *Type {
	t.Later = append(t.Later, laters(words...)...)
	return t
}

// word turns a spelling into the canonical keyword; deprecated is true when more than hyphens or case differ.
func (t *Type) word(s string) (word string, deprecated bool) {
	for _, v := range t.Values {
		if plain(v) == plain(s) {
			return v, false
		}
	}
	for _, l := range t.Later {
		if plain(l.Name) == plain(s) {
			return l.Name, false
		}
	}
	if v, ok := t.same[plain(s)]; ok {
		return v, true
	}
	return s, false
}

// isLater reports whether v is a keyword that is refused until it works.
func (t *Type) isLater(v kdl.Value) bool {
	if v.Kind != kdl.String || len(t.Later) == 0 {
		return false
	}
	word, _ := t.word(v.Str)
	return findLater(t.Later, word) != nil
}

func plain(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

func findLater(later []Later, name string) *Later {
	for i := range later {
		if plain(later[i].Name) == plain(name) {
			return &later[i]
		}
	}
	return nil
}

// laterError refuses a known keyword.
type laterError struct{ Later }

func (e *laterError) Error() string { return kdl.Quote(e.Name) + " is not available yet" }

// choiceError refuses an unknown keyword.
type choiceError struct {
	got   string
	valid []string
}

func (e *choiceError) Error() string { return "unknown value " + kdl.Quote(e.got) }

func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = kdl.Quote(w)
	}
	return strings.Join(out, ", ")
}

// seconds and millis are durations; the unit is in the key's name (-secs, -ms) or in a quoted value ("10s", "1m30s").
func seconds(lo, hi time.Duration) *Type { return duration("secs", lo, hi) }
func millis(lo, hi time.Duration) *Type  { return duration("ms", lo, hi) }

func duration(unit string, lo, hi time.Duration) *Type {
	return &Type{Name: "duration", Unit: unit, Min: int64(lo), Max: int64(hi), parse: parseDuration}
}

func parseDuration(t *Type, v kdl.Value, unit string) (any, error) {
	var d time.Duration
	switch {
	case v.Kind == kdl.Int && unit != "":
		scale := time.Second
		if unit == "ms" {
			scale = time.Millisecond
		}
		if v.Int < 0 || v.Int > math.MaxInt64/int64(scale) {
			return nil, inRange(-1, t.Min, t.Max, showDuration)
		}
		d = time.Duration(v.Int) * scale
	case v.Kind == kdl.String && unit == "":
		var err error
		if d, err = time.ParseDuration(v.Str); err != nil {
			return nil, fmt.Errorf(`cannot read the duration %s: write a number and a unit, as "10s", "250ms" or "1m30s"`, kdl.Quote(v.Str))
		}
	default:
		return nil, wrongType("an integer", v)
	}
	return d, inRange(int64(d), t.Min, t.Max, showDuration)
}

func showDuration(n int64, _ int) string {
	if n < 0 {
		return "the duration"
	}
	return shortDuration(time.Duration(n))
}

// shortDuration is a duration without the zero units that String adds: 24h, not 24h0m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size is a number of bytes; the key's name ends in -bytes or the value is quoted with a unit ("10MB", 1 KB = 1024 bytes).
func size(lo, hi int64) *Type {
	return &Type{Name: "size", Unit: "bytes", Min: lo, Max: hi, parse: func(t *Type, v kdl.Value, unit string) (any, error) {
		n := v.Int
		switch {
		case v.Kind == kdl.Int:
		case v.Kind == kdl.String && unit == "":
			var err error
			if n, err = parseSize(v.Str); err != nil {
				return nil, err
			}
		default:
			return nil, wrongType("an integer number of bytes", v)
		}
		return n, inRange(n, t.Min, t.Max, func(n int64, _ int) string { return showSize(n) })
	}}
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,15}) ?(?i:(B|KI?B|MI?B|GI?B|TI?B|K|M|G|T)?)$`)

func parseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf(`cannot read the size %s: write a number and a unit, as "64KB" or "10MB"`, kdl.Quote(s))
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	if m[2] != "" {
		if i := strings.IndexByte("KMGT", strings.ToUpper(m[2])[0]); i >= 0 {
			shift := 10 * (i + 1)
			if n > math.MaxInt64>>shift {
				return 0, fmt.Errorf("the size %s is too large", kdl.Quote(s))
			}
			n <<= shift
		}
	}
	return n, nil
}

func showSize(n int64) string {
	units := []string{"TB", "GB", "MB", "KB"}
	for i, u := range units {
		if shift := 10 * (len(units) - i); n != 0 && n%(1<<shift) == 0 {
			return strconv.FormatInt(n>>shift, 10) + u
		}
	}
	if n == 1 {
		return "1 byte"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// identifier names listeners, routes, upstreams, filters, agents and services: it ends up in metrics, paths and messages.
func identifier() *Type {
	return text("name", func(s string) error {
		if len(s) > 64 || !identifierPattern.MatchString(s) {
			return fmt.Errorf("%s cannot be a name: use 1 to 64 letters, digits, '-', '_' and '.', starting with a letter or digit", kdl.Quote(s))
		}
		return nil
	})
}

var identifierPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// addrPort is an IP address and a port.
func addrPort() *Type {
	return &Type{Name: "address", parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType(`an address as "127.0.0.1:8080"`, v)
		}
		a, err := netip.ParseAddrPort(v.Str)
		if err != nil {
			return nil, fmt.Errorf(`cannot read the address %s: write an IP address and a port, as "0.0.0.0:8080" or "[::]:8080"`, kdl.Quote(v.Str))
		}
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}}
}

// prefix is a CIDR block; a bare address is a block of one.
func prefix() *Type {
	return &Type{Name: "CIDR", parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType(`a CIDR block as "10.0.0.0/8"`, v)
		}
		if a, err := netip.ParseAddr(v.Str); err == nil && a.Zone() == "" {
			return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		p, err := netip.ParsePrefix(v.Str)
		if err != nil {
			return nil, fmt.Errorf(`cannot read the CIDR block %s: write an address and a length, as "10.0.0.0/8"`, kdl.Quote(v.Str))
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("the CIDR block %s has bits beyond its length: did you mean %q?", kdl.Quote(v.Str), p.Masked())
		}
		return p, nil
	}}
}
