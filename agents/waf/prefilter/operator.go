package prefilter

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/corazawaf/libinjection-go"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// operator is what a link asks about a value.
type operator struct {
	always  bool // there is none
	unknown bool
	not     bool
	match   func(value, arg string) bool
	arg     macro
	fixed   string // the argument, when it is
	isFixed bool
	rx      *expression

	clauses   []literal.Clause // every value that matches meets these
	certain   bool             // and a value that meets them matches
	injection bool             // there is nothing to look for, but it may be asked of one value after the other
}

// comparing are operators whose argument may hold variables.
var comparing = map[string]func(value, arg string) bool{
	"streq":      func(value, arg string) bool { return value == arg },
	"contains":   strings.Contains,
	"within":     func(value, arg string) bool { return strings.Contains(arg, value) },
	"beginswith": strings.HasPrefix,
	"endswith":   strings.HasSuffix,
	"eq":         func(value, arg string) bool { return number(value) == number(arg) },
	"gt":         func(value, arg string) bool { return number(value) > number(arg) },
	"ge":         func(value, arg string) bool { return number(value) >= number(arg) },
	"lt":         func(value, arg string) bool { return number(value) < number(arg) },
	"le":         func(value, arg string) bool { return number(value) <= number(arg) },
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// compileOperator makes an operator. One that is not known is marked so; an error is one that the engine would have as well.
func compileOperator(o *seclang.Operator, dir string, root fs.FS, k *known) (operator, error) {
	if o == nil {
		return operator{always: true}, nil
	}
	out := operator{not: o.Not}
	var err error
	if match := comparing[o.Name]; match != nil {
		out.match = match
		if out.arg, err = parseMacro(o.Arg); err != nil {
			return out, err
		}
		out.fixed, out.isFixed = out.arg.constant(k)
		if text := literal.Fold(out.fixed); out.isFixed && len(text) > 1 && (o.Name == "streq" || o.Name == "contains" || o.Name == "beginswith" || o.Name == "endswith") {
			out.clauses = []literal.Clause{{Literals: []string{text}}}
		}
		return out, nil
	}
	out.isFixed = true
	switch o.Name {
	case "rx":
		out.rx = &expression{source: o.Arg}
		out.match = func(value, _ string) bool { return out.rx.matches(value) }
		out.clauses, err = out.rx.require()
	case "pm":
		err = out.phrases(strings.Split(strings.ToLower(o.Arg), " "))
	case "pmfromfile", "pmf":
		var list []string
		if list, err = phrasesOf(o.Arg, dir, root); err == nil {
			err = out.phrases(list)
		}
	case "validatebyterange":
		err = out.byteRange(o.Arg)
	case "detectsqli":
		out.injection, out.match = true, func(value, _ string) bool { return !isWord(value) && isSQL(value) }
	case "detectxss":
		out.match = func(value, _ string) bool { return libinjection.IsXSS(value) }
		out.clauses = []literal.Clause{markup}
	case "validateutf8encoding":
		out.match = func(value, _ string) bool { return !utf8.ValidString(value) }
	case "unconditionalmatch":
		out.match = func(string, string) bool { return true }
	case "nomatch":
		out.match = func(string, string) bool { return false }
	case "ipmatch":
		out.addresses(o.Arg)
	case "validateurlencoding":
		out.match = func(value, _ string) bool { return badEscape(value) }
	default:
		out.unknown = true
	}
	return out, err
}

func isSQL(value string) bool {
	found, _ := libinjection.IsSQLi(value)
	return found
}

// isWord tells whether a text is one word or one number: to the detector that is one token, and no fingerprint of an injection consists of one.
func isWord(s string) bool {
	letters, digits := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c == '_':
			letters++
		case c >= '0' && c <= '9':
			if digits++; i == 0 && len(s) > 1 && (s[1] < '0' || s[1] > '9') {
				return false
			}
		default:
			return false
		}
	}
	return letters == 0 || digits == 0 || s[0] > '9'
}

// markup is what a text holds in which the detector finds a tag, a comment or the value of an attribute.
var markup = func() (c literal.Clause) {
	c.Bytes.Add('<')
	c.Bytes.Add('=')
	return c
}()

// phrases makes an operator that looks for phrases in any case.
func (o *operator) phrases(list []string) error {
	c := literal.Clause{}
	for _, p := range list {
		if p == "" {
			return fmt.Errorf("an empty phrase is in everything")
		}
		c.Add(literal.Fold(p))
	}
	o.clauses, o.certain = []literal.Clause{c}, true
	o.match = func(value, _ string) bool { return c.Meets(literal.Fold(value)) }
	return nil
}

func phrasesOf(name, dir string, root fs.FS) ([]string, error) {
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	var list []string
	scan := bufio.NewScanner(bytes.NewReader(text))
	for scan.Scan() {
		if l := strings.TrimSpace(scan.Text()); l != "" && l[0] != '#' {
			list = append(list, strings.ToLower(l))
		}
	}
	return list, scan.Err()
}

// byteRange makes an operator that matches values with a byte outside of ranges.
func (o *operator) byteRange(ranges string) error {
	var bad transform.Set
	for i := range bad {
		bad[i] = ^uint64(0)
	}
	for r := range strings.SplitSeq(ranges, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(r), "-")
		a, err := strconv.Atoi(low)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(high)
		}
		if err != nil || a < 0 || b > 255 {
			return fmt.Errorf("%q is no range of bytes", r)
		}
		for ; a <= b; a++ {
			bad[a>>6] &^= 1 << (a & 63)
		}
	}
	o.match = func(value, _ string) bool {
		t := transform.Look(value)
		return t.Bytes.Meets(&bad)
	}
	if folded := bad; foldable(&folded) {
		o.clauses = []literal.Clause{{Bytes: folded}}
	}
	return nil
}

// foldable adds the other case of each letter: what is looked for is looked for in any case.
func foldable(s *transform.Set) bool {
	for c := byte('a'); c <= 'z'; c++ {
		if s.Has(c) || s.Has(c-'a'+'A') {
			s.Add(c)
			s.Add(c - 'a' + 'A')
		}
	}
	return true
}

func (o *operator) addresses(list string) {
	var nets []*net.IPNet
	for a := range strings.SplitSeq(list, ",") {
		a = strings.TrimSpace(a)
		if !strings.Contains(a, "/") {
			if bits := "/32"; strings.Contains(a, ":") {
				a += "/128"
			} else {
				a += bits
			}
		}
		if _, n, err := net.ParseCIDR(a); err == nil {
			nets = append(nets, n)
		}
	}
	o.match = func(value, _ string) bool {
		ip := net.ParseIP(value)
		for _, n := range nets {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
}

func badEscape(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return true
		}
		i += 2
	}
	return false
}
