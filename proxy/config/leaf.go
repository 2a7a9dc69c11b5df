package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// leaf decodes a node that holds values.
func (d *decoder) leaf(key *Key, n *kdl.Node, v reflect.Value, path string) {
	f := d.field(v, key.Field)
	if key.Shape != ShapePairs && key.Shape != ShapeFree {
		if n.Block && slices.ContainsFunc(n.Args, key.Type.isLater) {
			d.value(key.Type, n.Args[0], "") // the block belongs to what is not available yet
			return
		}
		if n.Block {
			d.report.fail(n.NameSpan, "block", "", "%s takes no block", kdl.Quote(n.Name))
			return
		}
	}
	if key.Shape != ShapeFree && len(n.Props) > 0 {
		d.report.fail(n.Props[0].KeySpan, "property", "", "%s takes no property", kdl.Quote(n.Name))
		return
	}
	if _, known := d.origins[path]; !known {
		d.origins[path] = n.NameSpan
		if key.Shape == ShapeFree {
			d.origins[path] = n.Span
		}
	}
	switch key.Shape {
	case ShapeValue:
		d.scalar(key, n, f, path)
	case ShapeList:
		d.list(key, n, f, path)
	case ShapePair:
		d.pair(key, n, f, path)
	case ShapePairs:
		d.pairs(key, n, f, path)
	case ShapeFree:
		d.free(n, f)
	}
}

func (d *decoder) scalar(key *Key, n *kdl.Node, f reflect.Value, path string) {
	if !d.count(n, 1, 1) {
		return
	}
	unit, _ := key.accepts(n.Name)
	d.origins[path] = n.Args[0].Span
	if got, ok := d.value(key.Type, n.Args[0], unit); ok {
		if key.Type.namesFile() {
			got = d.file(key.Type, n.Args[0].Span, got.(string))
		}
		f.Set(reflect.ValueOf(got).Convert(f.Type()))
	}
}

func (d *decoder) list(key *Key, n *kdl.Node, f reflect.Value, path string) {
	if !d.count(n, 1, -1) {
		return
	}
	for _, arg := range n.Args {
		got, ok := d.value(key.Type, arg, "")
		if !ok {
			continue
		}
		if key.Type.namesFile() {
			got = d.file(key.Type, arg.Span, got.(string))
		}
		f.Set(reflect.Append(f, reflect.ValueOf(got).Convert(f.Type().Elem())))
		d.lists[path] = append(d.lists[path], arg.Span)
	}
}

func (d *decoder) pair(key *Key, n *kdl.Node, f reflect.Value, path string) {
	if !d.count(n, 1, 2) {
		return
	}
	name, ok := d.value(key.Type, n.Args[0], "")
	nv := NameValue{}
	if ok {
		nv.Name = name.(string)
	}
	if len(n.Args) == 2 {
		second, fine := d.value(key.Second, n.Args[1], "")
		if ok = ok && fine; ok {
			nv.Value, nv.HasValue = second.(string), true
		}
	}
	if ok {
		f.Set(reflect.Append(f, reflect.ValueOf(nv)))
		d.lists[path] = append(d.lists[path], through(n.Args[0].Span, n.Args[len(n.Args)-1].Span))
	}
}

func (d *decoder) pairs(key *Key, n *kdl.Node, f reflect.Value, path string) {
	if len(n.Args) > 0 || !n.Block {
		d.report.fail(n.NameSpan, "block", fmt.Sprintf("write %s { Name \"value\" }", key.Name), "%s needs a block of names and values", kdl.Quote(n.Name))
		return
	}
	for _, c := range n.Children {
		name, ok := d.value(key.Type, kdl.StringValue(c.Name, c.NameSpan), "")
		if len(c.Props) > 0 || c.Block || c.Type != "" {
			d.report.fail(c.NameSpan, "pair", "", "write one name and one value: %s \"…\"", kdl.Quote(c.Name))
			continue
		}
		if !d.count(c, 1, 1) {
			continue
		}
		second, fine := d.value(key.Second, c.Args[0], "")
		if !ok || !fine {
			continue
		}
		nv := NameValue{Name: name.(string), Value: second.(string), HasValue: true}
		if !key.Many && d.repeats(f, nv.Name) {
			d.report.fail(c.NameSpan, "duplicate-key", "", "%s stands twice in %s", kdl.Quote(c.Name), key.Name)
			continue
		}
		f.Set(reflect.Append(f, reflect.ValueOf(nv)))
		d.lists[path] = append(d.lists[path], through(c.NameSpan, c.Args[0].Span))
	}
}

// through is the span from the start of one to the end of another.
func through(from, to kdl.Span) kdl.Span {
	from.End = to.End
	return from
}

func (d *decoder) repeats(f reflect.Value, name string) bool {
	for i := range f.Len() {
		if strings.EqualFold(f.Index(i).Interface().(NameValue).Name, name) {
			return true
		}
	}
	return false
}

func (d *decoder) free(n *kdl.Node, f reflect.Value) {
	if len(n.Args) > 0 {
		d.report.fail(n.Args[0].Span, "argument", "write config { … }", "%s takes no value", kdl.Quote(n.Name))
		return
	}
	f.SetString(d.freeJSON(n))
}

// count checks the number of arguments; hi -1 = any.
func (d *decoder) count(n *kdl.Node, lo, hi int) bool {
	switch {
	case len(n.Args) < lo:
		d.report.fail(n.NameSpan, "missing-value", "", "%s needs a value", kdl.Quote(n.Name))
	case hi >= 0 && len(n.Args) > hi:
		most := map[int]string{1: "one value", 2: "at most two values"}[hi]
		d.report.fail(n.Args[hi].Span, "argument", "", "%s takes %s", kdl.Quote(n.Name), most)
	default:
		return true
	}
	return false
}

// value checks one argument. What a variable expanded to may stand for a number or boolean.
func (d *decoder) value(t *Type, v kdl.Value, unit string) (any, bool) {
	if d.expand.bad[v.Span] {
		return nil, false
	}
	if v.Type != "" {
		d.report.fail(v.Span, "type-annotation", "", "type annotations have no meaning here")
		return nil, false
	}
	if _, expanded := d.expand.written[v.Span]; expanded {
		v = fromVariable(t, v, unit)
	}
	got, err := t.parse(t, v, unit)
	if err == nil {
		return got, true
	}
	var later *laterError
	var choice *choiceError
	switch {
	case errors.As(err, &later):
		d.report.fail(v.Span, "not-available", later.Hint, "%s", err)
	case errors.As(err, &choice):
		d.report.fail(v.Span, "unknown-value", suggest(choice.got, choice.valid), "%s", err)
	case strings.HasPrefix(err.Error(), "expected "):
		d.report.fail(v.Span, "wrong-type", typeHint(t, v), "%s", err)
	default:
		d.report.fail(v.Span, "invalid-value", "", "%s", err)
	}
	return nil, false
}

// fromVariable reads the text of a variable as the kind of value that the type takes.
func fromVariable(t *Type, v kdl.Value, unit string) kdl.Value {
	switch t.Name {
	case "boolean":
		if v.Str == "true" || v.Str == "false" {
			return kdl.Value{Kind: kdl.Bool, Bool: v.Str == "true", Span: v.Span}
		}
	case "integer", "duration", "size", "priority":
		if n, err := strconv.ParseInt(v.Str, 10, 64); err == nil && (t.Name != "duration" || unit != "") {
			return kdl.IntValue(n, v.Span)
		}
	}
	return v
}

func typeHint(t *Type, v kdl.Value) string {
	switch {
	case t.Name == "boolean" && v.Kind == kdl.String && (v.Str == "true" || v.Str == "false"):
		return "write #" + v.Str
	case t.Unit != "" && v.Kind == kdl.String:
		return "a quoted value with its own unit belongs to the name without -" + t.Unit
	}
	return ""
}
