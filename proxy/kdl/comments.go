package kdl

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	calico "github.com/calico32/kdl-go"
)

// attachComments hangs every comment and every switched-off piece of the document on the node it belongs to: at the end of a
// node's line, else above the next node, else at the end of the block. One inside a node's head moves above the node.
func (c *converter) attachComments(doc *Document, in *calico.Document) {
	pieces := c.dashedNodes(in, nil)
	pieces = c.dashedParts(in.Nodes, pieces)
	pieces = append(pieces, c.plainComments(pieces)...)
	slices.SortFunc(pieces, func(a, b Comment) int { return cmp.Compare(a.start, b.start) })
	from := 0
	if len(c.ix.source.Text) >= len(bom) && string(c.ix.source.Text[:len(bom)]) == bom {
		from = len(bom)
	}
	doc.Tail = c.attach(doc.Nodes, pieces, from)
}

// dashedNodes collects the nodes switched off by slashdash between other nodes, at every depth.
func (c *converter) dashedNodes(in *calico.Document, out []Comment) []Comment {
	add := func(comments []calico.Comment) {
		for _, k := range comments {
			if k.Kind() == calico.CommentSlashdash && k.SlashedNode() != nil {
				n := c.node(k.SlashedNode())
				out = append(out, c.piece(int(k.Start().Offset), n.Span.End.Offset))
			}
		}
	}
	for _, n := range in.Nodes {
		add(n.LeadingComments())
		out = c.dashedNodes(n.Children(), out)
	}
	add(in.TrailingComments)
	return out
}

// dashedParts collects arguments, properties and blocks switched off inside nodes. As they move out of their node, they become
// line comments.
func (c *converter) dashedParts(nodes []*calico.Node, out []Comment) []Comment {
	for _, n := range nodes {
		for _, part := range n.InlineSlashdashes() {
			start, end := int(part.SlashdashStart().Offset), 0
			switch part.Kind() {
			case calico.InlineSlashdashArg:
				end = int(part.ArgValue().EndLocation().Offset)
			case calico.InlineSlashdashProp:
				end = int(part.PropVal().EndLocation().Offset)
			default:
				i, _ := slices.BinarySearchFunc(c.tokens, int(part.SlashdashEnd().Offset), func(t token, at int) int { return cmp.Compare(t.start, at) })
				for i < len(c.tokens)-1 && c.tokens[i].kind != calico.TokenLBrace {
					i++
				}
				end = c.tokens[c.closing(i)].end
			}
			piece := c.piece(start, end)
			piece.Text = asLineComments(piece.Text)
			out = append(out, piece)
		}
		out = c.dashedParts(n.Children().Nodes, out)
	}
	return out
}

func (c *converter) piece(start, end int) Comment {
	text := string(c.ix.source.Text[start:max(start, end)])
	if c.version == 1 {
		text = asLineComments(text)
		if m := marker.FindIndex(c.ix.source.Text); m != nil && start < m[1] {
			text = "/- kdl-version 2"
		}
	}
	return Comment{Text: text, start: start, end: max(start, end)}
}

// newlines are everything that ends a line in KDL, so also a line comment.
var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

func asLineComments(text string) string {
	lines := strings.Split(newlines.Replace(text), "\n")
	return "// " + strings.Join(lines, "\n// ")
}

// plainComments collects the // and /* */ comments outside the switched-off pieces.
func (c *converter) plainComments(pieces []Comment) []Comment {
	var out []Comment
	depth, start := 0, 0
	for _, t := range c.tokens {
		if t.kind != calico.TokenComment {
			continue
		}
		if depth == 0 {
			start = t.start
		}
		depth += commentDepth(t.text)
		if depth > 0 {
			continue
		}
		text := strings.TrimRight(string(c.ix.source.Text[start:t.end]), "\r\n\u0085\u2028\u2029\f\v")
		inside := func(p Comment) bool { return p.start <= start && start < p.end }
		if !slices.ContainsFunc(pieces, inside) {
			out = append(out, Comment{Text: text, start: start, end: start + len(text), line: strings.HasPrefix(text, "//")})
		}
	}
	return out
}

// attach distributes pieces, sorted and all of one block, over the nodes of the block; what is left belongs to the block's end.
// from is where the block starts.
func (c *converter) attach(nodes []*Node, pieces []Comment, from int) []Comment {
	at := from
	for i, n := range nodes {
		var inside []Comment
		for len(pieces) > 0 && pieces[0].start < n.Span.Start.Offset {
			n.Before = append(n.Before, c.spaced(pieces[0], &at))
			pieces = pieces[1:]
		}
		n.BlankBefore = c.blank(at, n.Span.Start.Offset)
		for len(pieces) > 0 && pieces[0].start < n.Span.End.Offset {
			if n.Block && pieces[0].start >= n.blockStart && pieces[0].start < n.blockEnd {
				inside = append(inside, pieces[0])
			} else {
				pieces[0].BlankBefore, n.BlankBefore = n.BlankBefore, false
				n.Before = append(n.Before, pieces[0])
			}
			pieces = pieces[1:]
		}
		at = n.Span.End.Offset
		if len(pieces) > 0 && c.endsLine(n, pieces[0], nodes[i+1:]) {
			n.After = &pieces[0]
			at = pieces[0].end
			pieces = pieces[1:]
		}
		n.Tail = c.attach(n.Children, inside, n.blockStart+1)
	}
	tail := make([]Comment, 0, len(pieces))
	for _, p := range pieces {
		tail = append(tail, c.spaced(p, &at))
	}
	return tail
}

// spaced notes whether a blank line stands between at and the piece, and moves at behind it.
func (c *converter) spaced(p Comment, at *int) Comment {
	p.BlankBefore = c.blank(*at, p.start)
	*at = p.end
	return p
}

// endsLine reports whether a piece stands at the end of n's last line and may stay there.
func (c *converter) endsLine(n *Node, p Comment, next []*Node) bool {
	text := c.ix.source.Text
	if len(next) > 0 && p.start > next[0].Span.Start.Offset || bytes.ContainsAny(text[n.Span.End.Offset:p.start], "\n\r\f\v") {
		return false
	}
	return p.line
}

// blank reports whether the text between two offsets holds an empty line.
func (c *converter) blank(from, to int) bool {
	lines := 0
	for _, b := range c.ix.source.Text[min(from, to):to] {
		switch b {
		case '\n':
			lines++
		case ' ', '\t', '\r':
		default:
			lines = 0
		}
	}
	return lines > 1
}
