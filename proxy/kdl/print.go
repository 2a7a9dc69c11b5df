package kdl

import (
	"regexp"
	"strconv"
	"strings"
)

const (
	indent = "    "
	// maxInline bounds a line that keeps its block on it.
	maxInline = 100
)

// Print writes a document in the one layout: four spaces per level, one node a line, comments kept, at most one blank line in a
// row. A block that was written on one line stays there when it is short and holds no comment.
func Print(doc *Document) []byte {
	p := &printer{}
	p.block(doc.Nodes, doc.Tail, 0)
	return []byte(p.String())
}

type printer struct{ strings.Builder }

func (p *printer) block(nodes []*Node, tail []Comment, depth int) {
	first := true
	blank := func(before bool) {
		if before && !first {
			p.WriteByte('\n')
		}
		first = false
	}
	for _, n := range nodes {
		for _, c := range n.Before {
			blank(c.BlankBefore)
			p.comment(c, depth)
		}
		blank(n.BlankBefore)
		p.node(n, depth)
	}
	for _, c := range tail {
		blank(c.BlankBefore)
		p.comment(c, depth)
	}
}

func (p *printer) comment(c Comment, depth int) {
	for i, line := range strings.Split(c.Text, "\n") {
		if i == 0 || strings.HasPrefix(line, "//") {
			p.indent(depth)
		}
		p.WriteString(strings.TrimRight(line, "\r"))
		p.WriteByte('\n')
	}
}

func (p *printer) indent(depth int) {
	for range depth {
		p.WriteString(indent)
	}
}

func (p *printer) node(n *Node, depth int) {
	p.indent(depth)
	p.WriteString(Head(n))
	switch {
	case !n.Block && len(n.Children) == 0:
	case len(n.Children) == 0 && len(n.Tail) == 0:
		p.WriteString(" {}")
	case n.Inline && inlineWidth(n)+depth*len(indent) <= maxInline:
		p.WriteString(inlineText(n))
	default:
		p.WriteString(" {\n")
		p.block(n.Children, n.Tail, depth+1)
		p.indent(depth)
		p.WriteByte('}')
	}
	if n.After != nil {
		p.WriteString(" " + strings.TrimRight(n.After.Text, " \t"))
	}
	p.WriteByte('\n')
}

// inlineWidth is the width of a node on one line, or more than any line when it cannot stand there.
func inlineWidth(n *Node) int {
	if len(n.Tail) > 0 {
		return maxInline + 1
	}
	for _, c := range n.Children {
		if len(c.Before) > 0 || c.After != nil || len(c.Children) > 0 || len(c.Tail) > 0 {
			return maxInline + 1
		}
	}
	line := Head(n) + inlineText(n)
	if strings.Contains(line, "\n") {
		return maxInline + 1
	}
	return len([]rune(line))
}

func inlineText(n *Node) string {
	parts := make([]string, len(n.Children))
	for i, c := range n.Children {
		parts[i] = Head(c)
		if c.Block {
			parts[i] += " {}"
		}
	}
	return " { " + strings.Join(parts, "; ") + " }"
}

// Head is a node as text without its block and comments.
func Head(n *Node) string {
	var b strings.Builder
	if n.Type != "" {
		b.WriteString("(" + name(n.Type) + ")")
	}
	b.WriteString(name(n.Name))
	for _, v := range n.Args {
		b.WriteString(" " + Text(v))
	}
	for _, p := range n.Props {
		b.WriteString(" " + name(p.Key) + "=" + Text(p.Value))
	}
	return b.String()
}

// plainName is what every reader takes for a bare word.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func name(s string) string {
	switch s {
	case "true", "false", "null", "inf", "nan":
		return Quote(s)
	}
	if plainName.MatchString(s) {
		return s
	}
	return Quote(s)
}

// Text is a value as KDL v2.
func Text(v Value) string {
	text := v.Raw
	if text == "" {
		text = plainText(v)
	}
	if v.Type != "" {
		text = "(" + name(v.Type) + ")" + text
	}
	return text
}

func plainText(v Value) string {
	switch v.Kind {
	case String:
		return Quote(v.Str)
	case Int:
		return strconv.FormatInt(v.Int, 10)
	case Float:
		text := strconv.FormatFloat(v.Float, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return text
	case Bool:
		return "#" + strconv.FormatBool(v.Bool)
	}
	return "#null"
}

// Quote is s as a quoted KDL string.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteString(`\` + string(r))
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case 0x85, 0x2028, 0x2029:
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
