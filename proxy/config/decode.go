package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// decoder fills a Config from a canonical tree, as the schema says.
type decoder struct {
	config  *Config
	report  *report
	expand  *expander
	origins map[string]kdl.Span   // where each value was written, by its path: routes.api.upstream
	lists   map[string][]kdl.Span // where each element of a list was written
	unsure  map[string]bool       // paths of blocks that hold a key which is not available yet, and of keys that a misspelt name probably means

	material []material // the files that were named
}

// decode turns the canonical nodes of all files into c.
func (d *decoder) decode(root *Key, nodes []*kdl.Node, top kdl.Span) {
	c := content{at: top, children: nodes}
	v := reflect.ValueOf(d.config).Elem()
	d.refuseUnknown(root, c, "", "")
	keys := slices.Clone(root.Keys)
	slices.SortStableFunc(keys, func(a, b *Key) int { return rank(a) - rank(b) })
	for _, key := range keys {
		d.key(key, c, v, key.Name)
	}
}

// rank puts the stack first: agents inherit from it.
func rank(k *Key) int {
	if k.Name == "stack" {
		return 0
	}
	return 1
}

// content is what stands in one block: its children and, for keys that may be written so, its properties.
type content struct {
	at       kdl.Span
	props    []kdl.Prop
	children []*kdl.Node
	argument *kdl.Value // of a block whose argument stands for a child
	argName  string     // that child
	keep     bool       // what is not written keeps the value it has, no default
}

func contentOf(n *kdl.Node) content {
	return content{at: n.NameSpan, props: n.Props, children: n.Children}
}

// block decodes the keys of k from c into v, the struct that k's fields belong to. path names v.
func (d *decoder) block(k *Key, c content, v reflect.Value, path string) {
	kind, hasType := d.kind(k, c)
	if t := k.child("type"); t != nil && !hasType && d.laterType(t, c) {
		// What is not available is the whole thing; its other keys come with it.
		d.unsure[path] = true
		d.key(t, c, v, join(path, t.Name))
		return
	}
	d.refuseUnknown(k, c, kind, path)
	for _, key := range k.Keys {
		if !key.in(kind) {
			if hasType {
				d.refuseForeign(key, c, kind)
			}
			continue
		}
		d.key(key, c, v, join(path, key.Name))
	}
}

// kind is the value of the sibling "type" that decides which keys exist; ok is false when it is missing or wrong, and then no
// key is judged by it.
func (d *decoder) kind(k *Key, c content) (kind string, ok bool) {
	key := k.child("type")
	if key == nil || key.Type.Name != "keyword" {
		return "", false
	}
	values := c.valuesOf(key)
	if word, hasDefault := key.Default.(string); len(values) == 0 && hasDefault {
		return word, true
	}
	for _, v := range values {
		if word, _ := key.Type.word(v.Str); v.Kind == kdl.String && slices.Contains(key.Type.Values, word) {
			return word, true
		}
	}
	return "", false
}

// laterType reports whether the block is of a type that is known and does not work yet.
func (d *decoder) laterType(key *Key, c content) bool {
	return slices.ContainsFunc(c.valuesOf(key), key.Type.isLater)
}

// valuesOf lists the values of a key, written as property or child.
func (c content) valuesOf(key *Key) []kdl.Value {
	var out []kdl.Value
	if c.argument != nil && key.Name == c.argName {
		out = append(out, *c.argument)
	}
	for _, p := range c.props {
		if _, ok := key.accepts(p.Key); ok && key.Prop {
			out = append(out, p.Value)
		}
	}
	for _, n := range c.children {
		if _, ok := key.accepts(n.Name); ok {
			out = append(out, n.Args...)
		}
	}
	return out
}

// refuseUnknown reports children and properties that the block does not know, and known ones that do not work yet.
func (d *decoder) refuseUnknown(k *Key, c content, kind, path string) {
	for _, n := range c.children {
		if n.Type != "" {
			d.report.fail(n.NameSpan, "type-annotation", "", "type annotations have no meaning here")
		}
		if k.child(n.Name) == nil {
			d.unknown(k, n.Name, n.NameSpan, kind, path)
		}
	}
	for _, p := range c.props {
		key := k.child(p.Key)
		switch {
		case key == nil:
			d.unknown(k, p.Key, p.KeySpan, kind, path)
		case !key.Prop:
			d.report.fail(p.KeySpan, "property", fmt.Sprintf("write it in the block: { %s … }", key.Canonical()), "%s cannot be a property", kdl.Quote(p.Key))
		case kind != "" && !key.in(kind):
			d.foreign(key, p.KeySpan, kind)
		}
	}
}

func (d *decoder) unknown(k *Key, name string, at kdl.Span, kind, path string) {
	if l := findLater(k.Later, name); l != nil && !strings.Contains(name, "_") {
		hint := l.Hint
		if hint == "" {
			hint = "remove it until a later release understands it"
		}
		d.unsure[path] = true
		d.report.fail(at, "not-available", hint, "%s is not available yet", kdl.Quote(l.Name))
		return
	}
	if name == "include" {
		d.report.fail(at, "include-form", "", "include may stand only outside of all blocks")
		return
	}
	where := "at the top of the file"
	if k.Name != "" {
		where = "in " + k.Name
	}
	valid := k.names(kind)
	if meant := k.child(closest(name, valid)); meant != nil {
		d.unsure[join(path, meant.Name)] = true
	}
	d.report.fail(at, "unknown-key", suggest(name, valid), "%s is not known %s", kdl.Quote(name), where)
}

// names are the canonical names of a block's keys.
func (k *Key) names(kind string) []string {
	var out []string
	for _, c := range k.Keys {
		if kind == "" || c.in(kind) {
			out = append(out, c.Canonical())
		}
	}
	if k.Name == "" {
		out = append(out, "include")
	}
	return out
}

func (d *decoder) refuseForeign(key *Key, c content, kind string) {
	for _, n := range c.children {
		if _, ok := key.accepts(n.Name); ok {
			d.foreign(key, n.NameSpan, kind)
		}
	}
}

func (d *decoder) foreign(key *Key, at kdl.Span, kind string) {
	d.report.fail(at, "wrong-type-key", "", "%s belongs to type %s, not to type %s", kdl.Quote(key.Canonical()), quoteAll(key.Only), kdl.Quote(kind))
}

// key decodes one key of a block from wherever it is written, or gives it its default.
func (d *decoder) key(key *Key, c content, v reflect.Value, path string) {
	var found []*kdl.Node
	for _, n := range c.children {
		if _, ok := key.accepts(n.Name); ok {
			found = append(found, n)
		}
	}
	for _, p := range c.props {
		if _, ok := key.accepts(p.Key); ok && key.Prop {
			found = append(found, &kdl.Node{Name: p.Key, NameSpan: p.KeySpan, Span: p.Value.Span, Args: []kdl.Value{p.Value}})
		}
	}
	if c.argument != nil && key.Name == c.argName {
		found = append(found, &kdl.Node{Name: key.Name, NameSpan: c.argument.Span, Span: c.argument.Span, Args: []kdl.Value{*c.argument}})
	}
	if key.single() && len(found) > 1 {
		for _, n := range found[1:] {
			d.report.fail(n.NameSpan, "duplicate-key", "first at "+found[0].NameSpan.String(), "%s stands twice in one block", kdl.Quote(n.Name))
		}
		found = found[:1]
	}
	if len(found) == 0 {
		d.absent(key, c, v, path)
		return
	}
	switch key.Shape {
	case ShapeBlock:
		d.blocks(key, found, v, path)
	case ShapeItems:
		d.items(key, found, v, path)
	default:
		for _, n := range found {
			d.leaf(key, n, v, path)
		}
	}
}

// single reports whether a second node of the key is a mistake.
func (k *Key) single() bool {
	switch k.Shape {
	case ShapeValue, ShapeFree:
		return true
	case ShapeList:
		return k.Once
	case ShapeBlock:
		return !k.Merge
	}
	return false
}

// absent applies the default of a key that is not written, and those of all keys below it.
func (d *decoder) absent(key *Key, c content, v reflect.Value, path string) {
	if key.Required {
		if d.unsure[path] {
			return // it is there, misspelt, and that was said
		}
		d.report.fail(c.at, "missing-key", "", "%s is missing", kdl.Quote(key.Canonical()))
		return
	}
	switch key.Shape {
	case ShapeBlock:
		if !key.Optional {
			d.block(key, content{at: c.at, keep: c.keep || key.Inherit}, d.field(v, key.Field), path)
		}
	case ShapeValue, ShapeList:
		if key.Default != nil && !c.keep {
			d.setDefault(key, d.field(v, key.Field))
		}
	}
}

func (d *decoder) setDefault(key *Key, f reflect.Value) {
	def := reflect.ValueOf(key.Default)
	if s, ok := key.Default.(string); ok && f.Kind() != reflect.String {
		parsed, err := key.Type.parse(key.Type, kdl.Value{Kind: kdl.String, Str: s}, "")
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", key.Name, err)) // a fault of the table; every default is tested
		}
		def = reflect.ValueOf(parsed)
	}
	f.Set(def.Convert(f.Type()))
}

// blocks decodes the nodes of a block; only one that merges has several.
func (d *decoder) blocks(key *Key, found []*kdl.Node, v reflect.Value, path string) {
	all := content{at: found[0].NameSpan, keep: key.Inherit, argName: key.ArgName}
	for _, n := range found {
		switch {
		case len(n.Args) == 1 && key.ArgName != "":
			all.argument = &n.Args[0]
		case len(n.Args) > 0 && key.ArgName != "":
			d.report.fail(n.Args[1].Span, "argument", "", "%s takes one value", kdl.Quote(n.Name))
		case len(n.Args) > 0:
			d.report.fail(n.Args[0].Span, "argument", fmt.Sprintf("write %s { … }", key.Name), "%s takes no value", kdl.Quote(n.Name))
		case !n.Block && len(n.Props) == 0:
			d.report.fail(n.NameSpan, "block", fmt.Sprintf("write %s { … }", key.Name), "%s needs a block", kdl.Quote(n.Name))
		}
		all.props = append(all.props, n.Props...)
		all.children = append(all.children, n.Children...)
	}
	d.origins[path] = found[0].NameSpan
	d.block(key, all, d.field(v, key.Field), path)
}

// inherit fills a new agent with what stack.defaults says; the stack is decoded first.
func (d *decoder) inherit(element reflect.Value) {
	if a, ok := element.Addr().Interface().(*Agent); ok {
		def := &d.config.Stack.Defaults
		a.Restart, a.Stop, a.Limits, a.Sandbox, a.User, a.Group = def.Restart, def.Stop, def.Limits, def.Sandbox, def.User, def.Group
	}
}

// items decodes named nodes, each into a new element of a slice.
func (d *decoder) items(key *Key, found []*kdl.Node, v reflect.Value, path string) {
	slice := d.field(v, key.Field)
	seen := map[string]kdl.Span{}
	for _, n := range found {
		id, ok := d.id(key, n)
		if !ok {
			continue
		}
		if first, twice := seen[id]; twice {
			d.report.fail(n.Args[0].Span, "duplicate-id", "first at "+first.String(), "the %s %s is defined twice", key.Name, kdl.Quote(id))
			continue
		}
		seen[id] = n.Args[0].Span
		element := reflect.New(slice.Type().Elem()).Elem()
		d.field(element, key.IDField).SetString(id)
		d.inherit(element)
		at := join(itemsPath(path, key.Name), id)
		d.origins[at] = n.Args[0].Span
		d.block(key, contentOf(n), element, at)
		slice.Set(reflect.Append(slice, element))
	}
}

// itemsPath is the path of a list of items: routes.route becomes routes, stack.service stays.
func itemsPath(path, name string) string {
	if base := strings.TrimSuffix(path, "."+name); strings.HasSuffix(base, name+"s") {
		return base
	}
	return path
}

// id reads the argument that names an item.
func (d *decoder) id(key *Key, n *kdl.Node) (string, bool) {
	switch len(n.Args) {
	case 0:
		what := "its name"
		if key.ArgName != "" {
			what = "its " + key.ArgName
		}
		d.report.fail(n.NameSpan, "missing-id", fmt.Sprintf("write %s %q { … }", n.Name, "…"), "%s needs %s after it", kdl.Quote(n.Name), what)
		return "", false
	case 1:
	default:
		d.report.fail(n.Args[1].Span, "argument", "", "%s takes one value", kdl.Quote(n.Name))
		return "", false
	}
	id, ok := d.value(key.Type, n.Args[0], "")
	if !ok {
		return "", false
	}
	return id.(string), true
}

// field follows a path of field names from a struct, making what pointers on the way lack.
func (d *decoder) field(v reflect.Value, path string) reflect.Value {
	if path == "" {
		return v
	}
	for name := range strings.SplitSeq(path, ".") {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.FieldByName(name)
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	return v
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
