package prefilter

import (
	"strings"
	"sync"
	"unicode/utf8"

	"rsc.io/binaryregexp"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/lazy"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// expression is a regular expression as the engine understands it. It is compiled when it is first needed: most never are.
type expression struct {
	source string
	once   sync.Once
	text   *lazy.Regexp
	binary *binaryregexp.Regexp // for expressions that name bytes which are no characters
}

// flags are those the engine puts before an expression.
const flags = "(?sm)"

func (e *expression) require() ([]literal.Clause, error) {
	if namesBytes(flags + e.source) {
		return literal.Require(e.source)
	}
	return literal.Require(flags + e.source)
}

func (e *expression) compile() {
	e.once.Do(func() {
		if namesBytes(flags + e.source) {
			e.binary, _ = binaryregexp.Compile(e.source)
		} else {
			e.text, _ = lazy.Compile(flags + e.source)
		}
	})
}

// matches tells whether the expression matches; one that cannot be compiled counts as matching.
func (e *expression) matches(value string) bool {
	e.compile()
	switch {
	case e.text != nil:
		return e.text.MatchString(value)
	case e.binary != nil:
		return e.binary.MatchString(value)
	}
	return true
}

// groups returns what the expression's groups hold, at most the nine that the engine notes, or nothing when that is not known.
func (e *expression) groups(value string) []string {
	if e.source == "^.*$" && strings.IndexByte(value, '\n') < 0 { // asked of every field of every request
		return []string{value}
	}
	e.compile()
	if e.text == nil {
		return nil
	}
	g := e.text.Slow().FindStringSubmatch(value)
	return g[:min(len(g), 9)]
}

// namesBytes tells whether an expression, its escapes \xHH read as bytes, is no UTF-8.
func namesBytes(expr string) bool {
	decoded := make([]byte, 0, len(expr))
	for i := 0; i < len(expr); i++ {
		if expr[i] != '\\' || i+3 >= len(expr) || expr[i+1] != 'x' {
			if expr[i] == '\\' && i+3 >= len(expr) {
				decoded = append(decoded, expr[i:]...)
				break
			}
			decoded = append(decoded, expr[i])
			continue
		}
		digits, advance := expr[i+2:i+4], 3
		if rest := expr[i:]; len(rest) >= 6 && rest[2] == '{' {
			if end := strings.IndexByte(rest, '}'); end >= 0 {
				digits, advance = rest[3:end], end
			}
		}
		if len(digits) < 2 || !isHex(digits[0]) || !isHex(digits[1]) {
			decoded = append(decoded, expr[i])
			continue
		}
		decoded = append(decoded, transform.URLDecode("%" + digits[:2])[0])
		i += advance
	}
	return !utf8.Valid(decoded)
}
