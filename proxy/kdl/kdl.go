// Package kdl reads KDL documents into nodes that know where they stand in their file, and prints them again.
//
// A document is KDL v2 unless its first line is the marker "/- kdl-version 1". There is no fallback between the two: a file is
// read as what it says it is, and an error says how to write it right. All errors of a document are reported in one run.
//
// What a configuration never needs is refused before any parser sees it: more than MaxBytes, nesting deeper than MaxDepth,
// invalid UTF-8, control characters and characters that change the direction of text. Duplicate properties are errors.
//
// KDL v1 is read by two independent parsers which must agree on every node, so a form that one of them misreads is an error and
// never a silently different configuration.
package kdl

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxBytes bounds one document.
	MaxBytes = 4 << 20
	// MaxDepth bounds the nesting of blocks and of comments; the parser recurses on it.
	MaxDepth = 64
	// maxNumber bounds the characters of one number.
	maxNumber = 64
	// maxErrors bounds the errors reported for one document.
	maxErrors = 100
)

// Source is one file's text.
type Source struct {
	Name string
	Text []byte
}

// Line is the text of a 1-based line without its end, "" when there is none.
func (s *Source) Line(number int) string {
	if s == nil || number < 1 {
		return ""
	}
	rest := string(s.Text)
	for ; number > 1; number-- {
		_, after, ok := strings.Cut(rest, "\n")
		if !ok {
			return ""
		}
		rest = after
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSuffix(line, "\r")
}

// Pos is a place in a file.
type Pos struct {
	Offset int // bytes from the start of the file
	Line   int // 1-based
	Col    int // 1-based, in characters
}

// Span is a piece of a file, End exclusive. The zero Span is nowhere.
type Span struct {
	Source     *Source
	Start, End Pos
}

// String is file:line:col of the start.
func (s Span) String() string {
	if s.Source == nil {
		return "-"
	}
	return fmt.Sprintf("%s:%d:%d", s.Source.Name, s.Start.Line, s.Start.Col)
}

// Kind is the type of a Value.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Huge // a number that neither int64 nor float64 holds
)

// String names the kind as an operator would.
func (k Kind) String() string {
	return [...]string{"null", "boolean", "integer", "decimal number", "string", "number out of range"}[k]
}

// Value is an argument or the value of a property.
type Value struct {
	Kind  Kind
	Str   string
	Int   int64
	Float float64
	Bool  bool
	Type  string // type annotation, "" = none
	Raw   string // the literal as written where printing must keep it (raw and multi-line strings, numbers), else ""
	Span  Span
}

// StringValue makes a string that was written at span.
func StringValue(s string, span Span) Value { return Value{Kind: String, Str: s, Span: span} }

// IntValue makes an integer that was written at span.
func IntValue(i int64, span Span) Value { return Value{Kind: Int, Int: i, Span: span} }

// Prop is one key=value of a node.
type Prop struct {
	Key     string
	KeySpan Span
	Value   Value
}

// Comment is a comment, or a piece switched off by slashdash, on lines of its own or at the end of a line.
type Comment struct {
	Text        string // as written, without the line end
	BlankBefore bool   // a blank line stood before it
	line        bool   // ends its line ("//")
	start, end  int
}

// Node is one node with its block.
type Node struct {
	Name     string
	NameSpan Span
	Span     Span // from the name (or type annotation) to the end of the last argument, property or block
	Type     string
	Args     []Value
	Props    []Prop
	Children []*Node
	Block    bool // has a { }, maybe an empty one
	Inline   bool // its block was written on one line

	BlankBefore bool
	Before      []Comment // on the lines above
	After       *Comment  // at the end of the line
	Tail        []Comment // in the block after the last child

	blockStart, blockEnd int // offsets of { and past }, 0 = no block
}

// Prop returns the property with the given key.
func (n *Node) Prop(key string) (*Prop, bool) {
	for i := range n.Props {
		if n.Props[i].Key == key {
			return &n.Props[i], true
		}
	}
	return nil, false
}

// Child returns the first child with the given name, or nil.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Document is one parsed file.
type Document struct {
	Source  *Source
	Version int // 1 or 2
	Nodes   []*Node
	Tail    []Comment
}

// Error is one syntax error.
type Error struct {
	Span    Span
	Code    string
	Message string
	Hint    string
}

// Error is file:line:col: message.
func (e Error) Error() string { return e.Span.String() + ": " + e.Message }

// index turns byte offsets into positions.
type index struct {
	source *Source
	lines  []int // offset of the start of each line
	runes  []int // characters before each block of runeBlock bytes: without it, a file of one long line takes quadratic time
}

const runeBlock = 512

func newIndex(source *Source) *index {
	ix := &index{source: source, lines: []int{0}}
	count := 0
	for i, b := range source.Text {
		if i%runeBlock == 0 {
			ix.runes = append(ix.runes, count)
		}
		if utf8.RuneStart(b) {
			count++
		}
		if b == '\n' {
			ix.lines = append(ix.lines, i+1)
		}
	}
	ix.runes = append(ix.runes, count)
	return ix
}

// before counts the characters that begin before an offset.
func (ix *index) before(offset int) int {
	block := min(offset/runeBlock, len(ix.runes)-1)
	count := ix.runes[block]
	for _, b := range ix.source.Text[min(block*runeBlock, offset):offset] {
		if utf8.RuneStart(b) {
			count++
		}
	}
	return count
}

func (ix *index) pos(offset int) Pos {
	offset = max(0, min(offset, len(ix.source.Text)))
	for offset > 0 && offset < len(ix.source.Text) && !utf8.RuneStart(ix.source.Text[offset]) {
		offset-- // the lexer sometimes points into a character
	}
	lo, hi := 0, len(ix.lines)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; ix.lines[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	start := ix.lines[lo]
	if start == 0 && bytes.HasPrefix(ix.source.Text[:offset], []byte(bom)) {
		start = len(bom)
	}
	return Pos{Offset: offset, Line: lo + 1, Col: ix.before(offset) - ix.before(start) + 1}
}

func (ix *index) span(start, end int) Span {
	return Span{Source: ix.source, Start: ix.pos(start), End: ix.pos(max(start, end))}
}
