package kdl

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"

	calico "github.com/calico32/kdl-go"
	sblinch "github.com/sblinch/kdl-go"
	"github.com/sblinch/kdl-go/document"
)

// maxV1Node bounds what the v1 parser is given at once: it keeps slices into a 64 KiB buffer that it refills.
const maxV1Node = 65_535

// crossCheck reads every top-level node of a v1 document a second time, by the v1 parser proper, and reports each one on which
// the two do not agree.
func crossCheck(doc *Document, nodes []*calico.Node) []Error {
	var errs []Error
	for i, n := range doc.Nodes {
		text := doc.Source.Text[n.Span.Start.Offset:n.Span.End.Offset]
		if len(text) > maxV1Node {
			errs = append(errs, Error{
				Span: n.NameSpan, Code: "kdl-v1-size",
				Message: fmt.Sprintf("a KDL v1 node may have at most %d bytes, this one has %d", maxV1Node, len(text)),
				Hint:    "split it, or write the file in KDL v2",
			})
			continue
		}
		second, err := sblinch.Parse(bytes.NewReader(text))
		switch {
		case err != nil:
			errs = append(errs, notV1(n.NameSpan, err))
		case len(second.Nodes) != 1 || !sameNode(nodes[i], second.Nodes[0]):
			errs = append(errs, Error{
				Span: n.NameSpan, Code: "kdl-v1-ambiguous",
				Message: "this KDL v1 node can be read in two ways",
				Hint:    "write the file in KDL v2: remove the marker in its first line",
			})
		}
	}
	return errs
}

// notV1 is the finding for a node that the v1 parser refuses. The rule that trips people has words of its own.
func notV1(at Span, err error) Error {
	e := Error{Span: at, Code: "kdl-syntax", Message: "this node is not valid KDL v1: " + firstLine(err)}
	if strings.Contains(err.Error(), "BraceClose") {
		e.Message = "this node is not valid KDL v1: in it, a node is not ended before a }"
		e.Hint = "end every node with ; or a new line, also the last one of a block: { a; b { c; }; }"
	}
	return e
}

// firstLine is an error of the v1 parser without its picture of the line and its position, which counts from the node.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text, _, _ = strings.Cut(text, " at line")
	return strings.TrimPrefix(strings.TrimPrefix(text, "scan failed: "), "parse failed: ")
}

func sameNode(a *calico.Node, b *document.Node) bool {
	args, props := a.Arguments(), a.Properties()
	if annotation, _ := a.TypeAnnotation(); annotation != string(b.Type) {
		return false
	}
	if b.Name == nil || b.Name.Value != any(a.Name()) || len(args) != len(b.Arguments) || len(props) != b.Properties.Len() {
		return false
	}
	for i, v := range args {
		if !sameValue(v, b.Arguments[i]) {
			return false
		}
	}
	for key, v := range props {
		if other, ok := b.Properties.Get(key); !ok || !sameValue(v, other) {
			return false
		}
	}
	children := a.Children().Nodes
	if len(children) != len(b.Children) {
		return false
	}
	for i, child := range children {
		if !sameNode(child, b.Children[i]) {
			return false
		}
	}
	return true
}

func sameValue(a calico.Value, b *document.Value) bool {
	if annotation, _ := a.TypeAnnotation(); annotation != string(b.Type) {
		return false
	}
	switch other := b.Value.(type) {
	case string:
		return a.Kind() == calico.String && a.String() == other
	case bool:
		return a.Kind() == calico.Bool && a.Bool() == other
	case int64:
		return a.Kind() == calico.Int && int64(a.Int()) == other
	case float64:
		return sameFloat(a, other)
	case *big.Int:
		return a.Kind() == calico.BigInt && a.BigInt().Cmp(other) == 0
	case *big.Float:
		f, _ := other.Float64()
		return sameFloat(a, f)
	case nil:
		return a.Kind() == calico.Null
	}
	return false
}

func sameFloat(a calico.Value, f float64) bool {
	switch a.Kind() {
	case calico.Float:
		return a.Float() == f
	case calico.BigFloat:
		mine, _ := a.BigFloat().Float64()
		return mine == f
	}
	return false
}
