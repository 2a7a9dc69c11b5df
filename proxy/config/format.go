package config

import (
	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Format rewrites one file in canonical layout and spelling; comments stay. A KDL v1 file becomes v2. It means the same
// afterwards: what Format does not understand it leaves as it is. The errors are those of the syntax only.
func Format(name string, text []byte) ([]byte, error) {
	doc, errs := kdl.Parse(name, text)
	if len(errs) > 0 {
		r := &report{names: []string{name}}
		for _, e := range errs {
			r.fail(e.Span, e.Code, e.Hint, "%s", e.Message)
		}
		return nil, r.err()
	}
	whole := &kdl.Node{Children: doc.Nodes, Tail: doc.Tail}
	(&normalizer{print: true}).block(Schema(), whole)
	doc.Nodes, doc.Tail = whole.Children, whole.Tail
	return kdl.Print(doc), nil
}
