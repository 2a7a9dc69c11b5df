package kdl

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	calico "github.com/calico32/kdl-go"
)

const bom = "\uFEFF"

// marker is the version line of the KDL specification. It counts only as the very first thing of a document.
var marker = regexp.MustCompile(`^\x{FEFF}?\s*/-\s*kdl-version\s+([0-9]+)[ \t]*(?:;|/|[\r\n\v\f\x{0085}\x{2028}\x{2029}]|$)`)

// version tells which KDL the document says it is.
func version(text []byte) (int, error) {
	m := marker.FindSubmatch(text)
	switch {
	case m == nil, string(m[1]) == "2":
		return 2, nil
	case string(m[1]) == "1":
		return 1, nil
	}
	return 0, fmt.Errorf("unknown kdl-version %s: 1 and 2 are known", m[1])
}

// checkText refuses bytes that no configuration needs: they hide text from the reader or end strings early elsewhere. Where the text is not UTF-8 it ends:
// of a file in another encoding, or of a binary one, the first place says it all.
func checkText(ix *index) []Error {
	var errs []Error
	refuse := func(at, size int, code, message string) {
		errs = append(errs, Error{Span: ix.span(at, at+size), Code: code, Message: message})
	}
	text := ix.source.Text
	for i := 0; i < len(text) && len(errs) < maxErrors; {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			refuse(i, size, "kdl-encoding", "the file is not valid UTF-8 here")
			errs[len(errs)-1].Hint = "save it as UTF-8"
			return errs
		case r == '\uFEFF' && i == 0:
		case Forbidden(r):
			refuse(i, size, "kdl-character", fmt.Sprintf("the character U+%04X is not allowed", r))
		}
		i += size
	}
	return errs
}

// Forbidden reports whether r may stand neither in a file nor, by an escape, in a string: control characters other than
// tab and line ends, and the marks that change the direction of text.
func Forbidden(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0 && r != 0x85:
		return true
	case r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == '\uFEFF':
		return true
	}
	return false
}

// token is a lexical token with byte offsets.
type token struct {
	kind       calico.TokenKind
	start, end int
	text       string
}

// tokenize splits a document. A fatal error is what the recursive parser must never meet; unclosed are the blocks without an end.
func tokenize(ix *index, v calico.Version) (tokens []token, unclosed []Error, fatal *Error) {
	raw := calico.Tokenize(ix.source.Text, calico.WithVersion(v))
	tokens = make([]token, len(raw))
	refuse := func(t token, code, format string, limit int) *Error {
		return &Error{Span: ix.span(t.start, t.end), Code: code, Message: fmt.Sprintf(format, limit)}
	}
	var open []token
	comment := 0
	for i, r := range raw {
		t := token{kind: r.Kind, start: int(r.Start.Offset), end: int(r.End.Offset), text: r.Text}
		tokens[i] = t
		switch t.kind {
		case calico.TokenLBrace:
			if open = append(open, t); len(open) > MaxDepth {
				return nil, nil, refuse(t, "kdl-depth", "blocks are nested more than %d deep", MaxDepth)
			}
		case calico.TokenRBrace:
			open = open[:max(0, len(open)-1)]
		case calico.TokenComment:
			if comment += commentDepth(t.text); comment > MaxDepth {
				return nil, nil, refuse(t, "kdl-depth", "comments are nested more than %d deep", MaxDepth)
			}
		case calico.TokenNumber:
			if len(t.text) > maxNumber {
				return nil, nil, refuse(t, "kdl-number", "a number may have at most %d characters", maxNumber)
			}
		}
	}
	for _, t := range open {
		unclosed = append(unclosed, Error{
			Span: ix.span(t.start, t.end), Code: "kdl-unclosed-block", Message: "this block is never closed", Hint: "add the missing }",
		})
	}
	return tokens, unclosed, nil
}

// commentDepth says how a piece of a block comment changes the nesting.
func commentDepth(text string) int {
	switch text {
	case "/*":
		return 1
	case "*/":
		return -1
	}
	return 0
}
