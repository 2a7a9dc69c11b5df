package kdl

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	calico "github.com/calico32/kdl-go"
)

// Parse reads one document. name is used in positions. On errors the document is nil; there is at least one and at most maxErrors.
func Parse(name string, text []byte) (*Document, []Error) {
	ix := newIndex(&Source{Name: name, Text: text})
	if len(text) > MaxBytes {
		return nil, []Error{{Span: ix.span(0, 0), Code: "kdl-size", Message: fmt.Sprintf("the file has %d bytes, more than %d", len(text), MaxBytes)}}
	}
	if errs := checkText(ix); len(errs) > 0 {
		return nil, errs
	}
	number, err := version(text)
	if err != nil {
		return nil, []Error{{Span: ix.span(0, 0), Code: "kdl-version", Message: err.Error()}}
	}
	v := calico.Version2
	if number == 1 {
		v = calico.Version1
	}
	tokens, unclosed, fatal := tokenize(ix, v)
	if fatal != nil {
		return nil, []Error{*fatal}
	}
	result := calico.ParseStringWithDiagnostics(string(text), calico.WithVersion(v), calico.WithDuplicateProperties(calico.DupError))
	c := &converter{ix: ix, tokens: tokens, version: number}
	if errs := c.diagnostics(result.Diagnostics, unclosed); len(errs) > 0 {
		return nil, errs
	}
	doc := &Document{Source: ix.source, Version: number, Nodes: c.nodes(result.Document.Nodes)}
	if number == 1 && len(c.errs) == 0 {
		c.errs = crossCheck(doc, result.Document.Nodes)
	}
	if len(c.errs) > 0 {
		return nil, c.errs[:min(len(c.errs), maxErrors)]
	}
	c.attachComments(doc, result.Document)
	return doc, nil
}

// converter turns the parser's tree into ours.
type converter struct {
	ix      *index
	tokens  []token
	version int
	errs    []Error
}

func (c *converter) span(start, end calico.Location) Span {
	return c.ix.span(int(start.Offset), int(end.Offset))
}

func (c *converter) nodes(in []*calico.Node) []*Node {
	out := make([]*Node, 0, len(in))
	for _, n := range in {
		out = append(out, c.node(n))
	}
	return out
}

func (c *converter) node(in *calico.Node) *Node {
	n := &Node{Name: in.Name(), NameSpan: c.span(in.Location(), in.NameEndLocation())}
	start := n.NameSpan.Start.Offset
	if annotation, ok := in.TypeAnnotation(); ok {
		n.Type = annotation
		if from, _, ok := in.TypeAnnotationRange(); ok {
			start = c.openParen(int(from.Offset))
		}
	}
	n.Span = c.ix.span(start, max(int(in.EndLocation().Offset), n.NameSpan.End.Offset))
	c.checkString(n.Name, n.NameSpan)
	for _, v := range in.Arguments() {
		n.Args = append(n.Args, c.value(v))
	}
	for i, kv := range in.PropertyEntries() {
		from, to, _ := in.PropertyEntryKeyLocation(i)
		key := c.span(from, to)
		c.checkString(kv.Key, key)
		n.Props = append(n.Props, Prop{Key: kv.Key, KeySpan: key, Value: c.value(kv.Value)})
	}
	n.Children = c.nodes(in.Children().Nodes)
	n.Inline, n.Block = in.ChildrenInline()
	if n.Block {
		c.locateBlock(n)
	}
	return n
}

// openParen finds the parenthesis before a type annotation.
func (c *converter) openParen(offset int) int {
	return max(0, bytes.LastIndexByte(c.ix.source.Text[:offset], '('))
}

// locateBlock finds the braces of a node's block: the first pair that opens after the last argument and property and is not
// switched off.
func (c *converter) locateBlock(n *Node) {
	from := n.NameSpan.End.Offset
	for _, v := range n.Args {
		from = max(from, v.Span.End.Offset)
	}
	for _, p := range n.Props {
		from = max(from, p.Value.Span.End.Offset)
	}
	i, _ := slices.BinarySearchFunc(c.tokens, from, func(t token, at int) int { return cmp.Compare(t.start, at) })
	dashed := false
	for ; i < len(c.tokens) && c.tokens[i].start < n.Span.End.Offset; i++ {
		switch c.tokens[i].kind {
		case calico.TokenSlashdash:
			dashed = c.dashesBlock(i)
		case calico.TokenLBrace:
			last := c.closing(i)
			if !dashed {
				n.blockStart, n.blockEnd = c.tokens[i].start, c.tokens[last].end
				n.Inline = !bytes.ContainsAny(c.ix.source.Text[n.blockStart:n.blockEnd], "\n")
				return
			}
			dashed, i = false, last
		}
	}
}

// dashesBlock reports whether what the slashdash at i switches off is a block.
func (c *converter) dashesBlock(i int) bool {
	for i++; i < len(c.tokens); i++ {
		switch c.tokens[i].kind {
		case calico.TokenWhitespace, calico.TokenNewline, calico.TokenComment, calico.TokenLineContinuation:
		default:
			return c.tokens[i].kind == calico.TokenLBrace
		}
	}
	return false
}

// closing returns the index of the brace that closes the one at i.
func (c *converter) closing(i int) int {
	depth := 0
	for ; i < len(c.tokens)-1; i++ {
		switch c.tokens[i].kind {
		case calico.TokenLBrace:
			depth++
		case calico.TokenRBrace:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(c.tokens) - 1
}

func (c *converter) value(in calico.Value) Value {
	v := Value{Span: c.span(in.Location(), in.EndLocation())}
	v.Type, _ = in.TypeAnnotation()
	if literal, ok := in.Literal(); ok && c.version == 2 {
		v.Raw = literal
	}
	switch in.Kind() {
	case calico.String:
		v.Kind, v.Str = String, in.String()
		c.checkString(v.Str, v.Span)
	case calico.Int:
		v.Kind, v.Int = Int, int64(in.Int())
	case calico.Float:
		v.Kind, v.Float = Float, in.Float()
	case calico.BigFloat:
		// Every decimal that is not a sum of powers of two arrives like this, 0.1 for example.
		f, _ := in.BigFloat().Float64()
		v.Kind, v.Float = Float, f
		if f-f != 0 {
			v.Kind = Huge
		}
	case calico.Bool:
		v.Kind, v.Bool = Bool, in.Bool()
	case calico.Null:
		v.Kind = Null
	default:
		v.Kind = Huge
	}
	return v
}

// checkString refuses in a string's value what is refused in the text, so that an escape cannot bring it in.
func (c *converter) checkString(s string, at Span) {
	for _, r := range s {
		if Forbidden(r) {
			c.errs = append(c.errs, Error{Span: at, Code: "kdl-character", Message: fmt.Sprintf("the character U+%04X is not allowed, escaped or not", r)})
			return
		}
	}
}

// diagnostics turns the parser's errors into ours, the first of each line: what follows on a line is mostly a consequence.
// unclosed stands for what the parser says about blocks without an end, which it only notices at the end of the file.
func (c *converter) diagnostics(in []calico.Diagnostic, unclosed []Error) []Error {
	swallowed := slices.ContainsFunc(in, openString) // a string that took the } with it
	if swallowed {
		unclosed = nil
	}
	errs := slices.Clone(unclosed)
	open := 0 // line of the last string that was not closed
	seen := map[int]bool{}
	for _, e := range errs {
		seen[e.Span.Start.Line] = true
	}
	for _, d := range in {
		if d.Severity != calico.SeverityError || d.Code == calico.DiagSyntaxExpectedRBrace && (swallowed || len(unclosed) > 0) {
			continue
		}
		e := c.syntaxError(d)
		if strings.Contains(d.Message, unexpectedNewline) {
			open = e.Span.Start.Line
		} else if open != 0 && e.Span.Start.Line == open+1 && d.Code == calico.DiagSyntaxExpectedNodeSpace {
			continue // a consequence of the string that was open on the line before
		}
		if seen[e.Span.Start.Line] || len(errs) == maxErrors {
			continue
		}
		seen[e.Span.Start.Line] = true
		errs = append(errs, e)
	}
	slices.SortStableFunc(errs, func(a, b Error) int { return cmp.Compare(a.Span.Start.Offset, b.Span.Start.Offset) })
	return errs
}

// Messages of the lexer that we recognise.
const (
	unexpectedNewline  = "unexpected newline in single-line string"
	unterminatedString = "unterminated"
)

func openString(d calico.Diagnostic) bool {
	return strings.Contains(d.Message, unexpectedNewline) || strings.Contains(d.Message, unterminatedString)
}

func (c *converter) syntaxError(d calico.Diagnostic) Error {
	e := Error{Span: c.span(d.Start, d.End), Code: "kdl-syntax", Message: message(d)}
	switch {
	case d.Code == calico.DiagSyntaxDuplicateProperty:
		e.Code = "kdl-duplicate-property"
	case d.Code == calico.DiagSyntaxV1UnquotedIdent:
		// The parser points behind the word.
		word, _, _ := strings.Cut(strings.TrimPrefix(d.Message, "unexpected identifier "), " ")
		if i := bytes.LastIndex(c.ix.source.Text[:d.Start.Offset], []byte(word)); i >= 0 {
			e.Span = c.ix.span(i, i+len(word))
		}
		e.Message = fmt.Sprintf("the word %q must be in quotes", word)
	case strings.Contains(d.Message, unexpectedNewline):
		// The lexer notices on the next line.
		e.Span = c.ix.span(int(d.Start.Offset)-1, int(d.Start.Offset)-1)
		e.Message, e.Hint = "this string is not closed on its line", `add the missing "`
	default:
		e.Hint = c.hint(e.Span)
	}
	return e
}

// message puts the parser's words into ours: no token names in angle brackets.
func message(d calico.Diagnostic) string {
	text := strings.TrimPrefix(d.Message, "lex error: ")
	if word, ok := strings.CutPrefix(text, "invalid identifier: "); ok {
		word, _, _ = strings.Cut(word, " (")
		return word + " cannot stand here without # or quotes"
	}
	switch d.Code {
	case calico.DiagSyntaxExpectedNodeTerminator:
		return "expected the end of the node: a new line, ; or }"
	case calico.DiagSyntaxExpectedNodeSpace:
		return "expected a space here"
	case calico.DiagSyntaxUnexpectedToken:
		if strings.HasSuffix(text, "got }") {
			return "this } closes nothing"
		}
	}
	return tokenNames.Replace(text)
}

var tokenNames = strings.NewReplacer(
	"expected token type ", "expected ", "<eof>", "the end of the file", "<newline>", "the end of the line", "<illegal>", "text that is not KDL",
	"<ws>", "a space", "<uident>", "a word", "<sident>", "a word", "<dident>", "a word", "<qstring>", "a string", "<qmstring>", "a string",
	"<rstring>", "a raw string", "<rmstring>", "a raw string", "<dec>", "a number", "<hex>", "a number", "<oct>", "a number", "<bin>", "a number",
	"<scomment>", "a comment", "<mcomment_start>", "a comment", "expected string", "expected a name",
)

// hint recognises the habits of KDL v1 and of other languages at a syntax error.
func (c *converter) hint(at Span) string {
	rest := c.ix.source.Text[at.Start.Offset:]
	word := rest[:min(len(rest), 16)]
	if i := bytes.IndexAny(word, " \t\r\n;{}()\"=#,[]"); i > 0 {
		word = word[:i]
	}
	if c.version == 2 {
		switch string(word) {
		case "true", "false", "null", "inf", "-inf", "nan":
			return "write #" + string(word)
		}
		if at.Start.Offset > 0 && bytes.HasPrefix(rest, []byte{'"'}) && c.ix.source.Text[at.Start.Offset-1] == 'r' || bytes.HasPrefix(rest, []byte(`r"`)) {
			return `a raw string is written #"…"#`
		}
	}
	if len(rest) > 0 {
		switch rest[0] {
		case ',', '[', ']':
			return "list values are separated by spaces, without commas or brackets"
		case ':', '=':
			return "a key and its value are separated by a space"
		}
		if at.Start.Offset > 0 && isDigit(c.ix.source.Text[at.Start.Offset-1]) {
			return `a number with a unit is written in quotes, as "10s" or "10MB"`
		}
	}
	return ""
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }
