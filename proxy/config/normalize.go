package config

import (
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// normalizer rewrites a tree into canonical spelling. It never judges: what it does not understand it leaves for the decoder.
type normalizer struct {
	report *report // takes the warnings about deprecated spellings; nil = none wanted
	print  bool    // for fmt: also choose between forms that mean the same
}

func (z *normalizer) deprecated(at kdl.Span, old, now string) {
	if z.report != nil {
		z.report.warn(at, "deprecated", "sentinel fmt rewrites it", "%s is a deprecated spelling of %s", old, now)
	}
}

// block rewrites the content of a block or item n of key k.
func (z *normalizer) block(k *Key, n *kdl.Node) {
	if k.rewrite != nil {
		k.rewrite(z, n)
	}
	for i := range n.Props {
		p := &n.Props[i]
		if c := k.child(p.Key); c != nil && c.Prop {
			z.values(c, []kdl.Value{p.Value}, func(_ int, v kdl.Value) { p.Value = v })
		}
	}
	for _, c := range n.Children {
		key := k.child(c.Name)
		if key == nil {
			continue
		}
		z.rename(key, c)
		switch key.Shape {
		case ShapeBlock:
			if arg := key.child(key.ArgName); arg != nil {
				z.values(arg, c.Args, func(i int, v kdl.Value) { c.Args[i] = v })
			}
			z.block(key, c)
		case ShapeItems:
			z.argument(key, c)
			z.block(key, c)
		case ShapeValue, ShapeList:
			z.argument(key, c)
			z.values(key, c.Args, func(i int, v kdl.Value) { c.Args[i] = v })
		}
	}
	if z.print {
		z.properties(k, n)
	}
}

// rename gives a node the canonical name of its key.
func (z *normalizer) rename(k *Key, n *kdl.Node) {
	unit, _ := k.accepts(n.Name)
	old := n.Name
	switch {
	case unit == "seconds":
		n.Name = k.Name + "-secs"
		z.deprecated(n.NameSpan, old, n.Name)
	case unit != "":
	case n.Name != k.Name:
		n.Name = k.Name
		if i := slices.IndexFunc(k.Aliases, func(a Alias) bool { return a.Name == old }); i >= 0 && k.Aliases[i].Deprecated {
			z.deprecated(n.NameSpan, old, k.Canonical())
		}
	}
	if n.Name == k.Name && k.Type != nil && k.Type.Unit != "" && len(n.Args) == 1 && n.Args[0].Kind == kdl.Int {
		// A bare number: its unit belongs in the name.
		n.Name = k.Canonical()
		if k.Type.Unit != "bytes" {
			z.deprecated(n.NameSpan, old, n.Name)
		}
	}
}

// argument moves an argument that was written as a property or child to its place.
func (z *normalizer) argument(k *Key, n *kdl.Node) {
	if k.ArgName == "" || len(n.Args) > 0 {
		return
	}
	if i := slices.IndexFunc(n.Props, func(p kdl.Prop) bool { return p.Key == k.ArgName }); i >= 0 {
		n.Args = []kdl.Value{n.Props[i].Value}
		n.Props = slices.Delete(n.Props, i, i+1)
		return
	}
	i := slices.IndexFunc(n.Children, func(c *kdl.Node) bool { return c.Name == k.ArgName && movable(c) })
	if i >= 0 {
		c := n.Children[i]
		n.Args = c.Args
		z.drop(n, i)
	}
}

// movable reports whether a child is nothing but a name and one value.
func movable(c *kdl.Node) bool {
	return len(c.Args) == 1 && len(c.Props) == 0 && !c.Block && c.Type == ""
}

// drop removes a child; its comments move to the node, its block goes when nothing is left in it.
func (z *normalizer) drop(n *kdl.Node, i int) {
	c := n.Children[i]
	n.Before = append(n.Before, c.Before...)
	if c.After != nil {
		n.Before = append(n.Before, *c.After)
	}
	n.Children = slices.Delete(n.Children, i, i+1)
	if len(n.Children) == 0 && len(n.Tail) == 0 {
		n.Block = false
	}
}

// values puts keywords into canonical spelling.
func (z *normalizer) values(k *Key, values []kdl.Value, set func(int, kdl.Value)) {
	if k.Type == nil || len(k.Type.Values) == 0 {
		return
	}
	for i, v := range values {
		if v.Kind != kdl.String {
			continue
		}
		word, old := k.Type.word(v.Str)
		if word == v.Str || !slices.Contains(k.Type.Values, word) {
			continue
		}
		if old {
			z.deprecated(v.Span, kdl.Quote(v.Str), kdl.Quote(word))
		}
		v.Str, v.Raw = word, ""
		set(i, v)
	}
}

// properties turns the children that are canonically properties into such.
func (z *normalizer) properties(k *Key, n *kdl.Node) {
	for i := 0; i < len(n.Children); i++ {
		c := n.Children[i]
		key := k.child(c.Name)
		if key == nil || !key.Prop || !movable(c) {
			continue
		}
		if _, twice := n.Prop(c.Name); twice {
			continue
		}
		n.Props = append(n.Props, kdl.Prop{Key: c.Name, KeySpan: c.NameSpan, Value: c.Args[0]})
		z.drop(n, i)
		i--
	}
	if k.Shape == ShapeBlock {
		z.argument(k, n)
	}
}

// unwrapTargets turns targets { target … } into target lines of the upstream.
func unwrapTargets(_ *normalizer, n *kdl.Node) { unwrap(n, "targets") }

// unwrap replaces children of the given name by what stands in them.
func unwrap(n *kdl.Node, name string) {
	var out []*kdl.Node
	var left []kdl.Comment
	for _, c := range n.Children {
		if c.Name != name || len(c.Args) > 0 || len(c.Props) > 0 || len(c.Children) == 0 {
			c.Before = append(left, c.Before...)
			left = nil
			out = append(out, c)
			continue
		}
		first := c.Children[0]
		before := append(left, c.Before...)
		left = nil
		if c.After != nil {
			before = append(before, *c.After)
		}
		first.BlankBefore = first.BlankBefore && len(before) == 0 || c.BlankBefore && len(before) == 0
		first.Before = append(before, first.Before...)
		out = append(out, c.Children...)
		left = c.Tail
	}
	n.Children = out
	n.Tail = append(left, n.Tail...)
}

// flattenHealthCheck turns type "http" { path … } into keys beside type, and supplies the type that a path implies.
func flattenHealthCheck(z *normalizer, n *kdl.Node) {
	if c := n.Child("type"); c != nil && c.Block && len(c.Props) == 0 {
		at := slices.Index(n.Children, c)
		inner := c.Children
		if len(inner) > 0 {
			inner[0].Before = append(inner[0].Before, c.Tail...)
		} else {
			c.Before = append(c.Before, c.Tail...)
		}
		c.Children, c.Tail, c.Block = nil, nil, false
		n.Children = slices.Insert(n.Children, at+1, inner...)
	}
	if path := n.Child("path"); path != nil && n.Child("type") == nil && !z.print {
		n.Children = append(n.Children, &kdl.Node{Name: "type", NameSpan: path.NameSpan, Span: path.Span, Args: []kdl.Value{kdl.StringValue("http", path.NameSpan)}})
	}
}

// unwrapErrorLog turns error-log { enabled; level; file; … } of logging into its own keys. What both say counts as error-log says it.
func unwrapErrorLog(z *normalizer, n *kdl.Node) {
	c := n.Child("error-log")
	if c == nil || len(c.Args) > 0 || len(c.Props) > 0 || len(c.Children) == 0 {
		return // the decoder explains
	}
	if slices.ContainsFunc(c.Children, func(k *kdl.Node) bool { return strings.HasSuffix(k.Name, "-log") }) {
		return // another log does not belong there
	}
	z.deprecated(c.NameSpan, "error-log", "level, format, file and buffer-size of logging")
	z.levelOfEnabled(c)
	for _, k := range c.Children {
		if i := slices.IndexFunc(n.Children, func(o *kdl.Node) bool { return o.Name == k.Name }); i >= 0 {
			z.noEffect(n.Children[i].NameSpan, k.Name+" stands in error-log, too, and that counts")
			z.drop(n, i)
		}
	}
	unwrap(n, "error-log")
	if len(c.Children) == 0 {
		z.drop(n, slices.Index(n.Children, c))
		n.Block = true // logging { } remains
	}
}

// levelOfEnabled says enabled #false as level "off"; enabled #true is how it is anyway.
func (z *normalizer) levelOfEnabled(c *kdl.Node) {
	i := slices.IndexFunc(c.Children, func(k *kdl.Node) bool { return k.Name == "enabled" && movable(k) && k.Args[0].Kind == kdl.Bool })
	if i < 0 {
		return
	}
	enabled := c.Children[i]
	if enabled.Args[0].Bool {
		z.drop(c, i)
		return
	}
	if l := slices.IndexFunc(c.Children, func(k *kdl.Node) bool { return k.Name == "level" }); l >= 0 {
		z.drop(c, l)
	}
	enabled.Name, enabled.Args[0] = "level", kdl.StringValue("off", enabled.Args[0].Span)
}

func (z *normalizer) noEffect(at kdl.Span, why string) {
	if z.report != nil {
		z.report.warn(at, "no-effect", "remove it", "this has no effect: %s", why)
	}
}

// rewriteAgent accepts transport wrappers and the restart keys of older files.
func rewriteAgent(z *normalizer, n *kdl.Node) {
	for _, c := range n.Children {
		if c.Name == "transport" && len(c.Args) == 1 && c.Args[0].Kind == kdl.String && len(c.Props) == 0 {
			// transport "unix_socket" { path … }
			if kind := strings.ReplaceAll(c.Args[0].Str, "_", "-"); kind == "unix-socket" || kind == "grpc" {
				z.deprecated(c.NameSpan, "transport", kind)
				c.Name, c.Args = kind, nil
			}
		}
	}
	if c := n.Child("transport"); c != nil && len(c.Args) == 0 && len(c.Children) > 0 {
		z.deprecated(c.NameSpan, "transport", c.Children[0].Name)
		unwrap(n, "transport")
	}
	for _, old := range restartSpellings {
		z.moveToRestart(n, old.name, old.key)
	}
}

// restartSpellings are the older names of keys of the restart block.
var restartSpellings = []struct{ name, key string }{
	{"restart-policy", "policy"}, {"restart-delay-ms", "initial-delay-ms"}, {"restart-delay-secs", "initial-delay-secs"}, {"max-restarts", "quarantine-after"},
}

func (z *normalizer) moveToRestart(n *kdl.Node, name, key string) {
	i := slices.IndexFunc(n.Children, func(c *kdl.Node) bool { return c.Name == name && movable(c) })
	if i < 0 {
		return
	}
	c := n.Children[i]
	restart := n.Child("restart")
	if restart == nil {
		restart = &kdl.Node{Name: "restart", NameSpan: c.NameSpan, Span: c.Span, Block: true, BlankBefore: c.BlankBefore}
		n.Children[i] = restart
	} else {
		n.Children = slices.Delete(n.Children, i, i+1)
		restart.Block, restart.Inline = true, false
	}
	z.deprecated(c.NameSpan, name, "restart { "+key+" }")
	c.Name, c.BlankBefore = key, false
	restart.Children = append(restart.Children, c)
}
