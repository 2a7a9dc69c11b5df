package config

import (
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Shape says how a key stands in the file.
type Shape string

const (
	ShapeValue Shape = "value" // key "v"
	ShapeList  Shape = "list"  // key "v" "v" …, and again
	ShapePair  Shape = "pair"  // key "name" ["value"], and again
	ShapePairs Shape = "pairs" // key { name "value" … }
	ShapeFree  Shape = "free"  // key { anything }
	ShapeBlock Shape = "block" // key { keys }
	ShapeItems Shape = "items" // key "id" { keys }, any number of them
)

// Key describes one name at one place of the file. The tree of keys is the whole grammar: decoding, defaults, errors, the
// reference page, canonical spelling and origins all come from it.
type Key struct {
	Name     string
	Shape    Shape
	Type     *Type  // of the arguments, of the names of pairs
	Second   *Type  // of the values of pairs
	ArgName  string // the argument may also be written as a property or child of this name; block: the child it stands for
	Field    string // path of Go fields from the value of the enclosing block; "" = the same value
	IDField  string // items: the field that takes the argument
	Default  any    // typed like the field; nil = the zero value
	Unset    string // what holds when the key is absent and there is no Default, for the reference page
	Required bool
	Merge    bool     // block: may stand several times, the children add up
	Once     bool     // list: may stand once only
	Many     bool     // pairs: a name may come several times
	Inherit  bool     // block: what is not written comes from elsewhere (see Doc), not from the defaults
	Optional bool     // block: absent means absent, not "all defaults"
	Prop     bool     // canonical as a property of the enclosing node; a child means the same
	Only     []string // the key exists only when its sibling "type" has one of these values
	Keys     []*Key
	Aliases  []Alias
	Later    []Later // names of this block that are known and refused
	Doc      string
	Since    string

	rewrite func(*normalizer, *kdl.Node) // brings other forms of this block into the canonical one
}

// Alias is another accepted name of a key.
type Alias struct {
	Name       string
	Deprecated bool // loads with a warning
}

// Later is a name or value that is understood and refused until it works.
type Later struct {
	Name string
	Hint string
}

// firstRelease is the release that introduced every key of this table so far.
const firstRelease = "0.1.0"

func value(name, field string, t *Type, def any, doc string) *Key {
	return &Key{Name: name, Shape: ShapeValue, Field: field, Type: t, Default: def, Doc: doc, Since: firstRelease}
}

func list(name, field string, t *Type, def any, doc string) *Key {
	return &Key{Name: name, Shape: ShapeList, Field: field, Type: t, Default: def, Doc: doc, Since: firstRelease}
}

func pair(name, field string, first, second *Type, doc string) *Key {
	return &Key{Name: name, Shape: ShapePair, Field: field, Type: first, Second: second, Doc: doc, Since: firstRelease}
}

func pairs(name, field string, first, second *Type, doc string) *Key {
	return &Key{Name: name, Shape: ShapePairs, Field: field, Type: first, Second: second, Doc: doc, Since: firstRelease}
}

func free(name, field, doc string) *Key {
	return &Key{Name: name, Shape: ShapeFree, Field: field, Doc: doc, Since: firstRelease}
}

func block(name, field, doc string, keys ...*Key) *Key {
	return &Key{Name: name, Shape: ShapeBlock, Field: field, Doc: doc, Keys: keys, Since: firstRelease}
}

func items(name, field, idField string, id *Type, doc string, keys ...*Key) *Key {
	return &Key{Name: name, Shape: ShapeItems, Field: field, IDField: idField, Type: id, Doc: doc, Keys: keys, Since: firstRelease}
}

func (k *Key) alias(names ...string) *Key {
	for _, n := range names {
		k.Aliases = append(k.Aliases, Alias{Name: n})
	}
	return k
}

func (k *Key) deprecated(names ...string) *Key {
	for _, n := range names {
		k.Aliases = append(k.Aliases, Alias{Name: n, Deprecated: true})
	}
	return k
}

func (k *Key) required() *Key              { k.Required = true; return k }
func (k *Key) asProp() *Key                { k.Prop = true; return k }
func (k *Key) merged() *Key                { k.Merge = true; return k }
func (k *Key) optional() *Key              { k.Optional = true; return k }
func (k *Key) only(types ...string) *Key   { k.Only = types; return k }
func (k *Key) argName(name string) *Key    { k.ArgName = name; return k }
func (k *Key) unset(meaning string) *Key   { k.Unset = meaning; return k }
func (k *Key) once() *Key                  { k.Once = true; return k }
func (k *Key) inherits() *Key              { k.Inherit = true; return k }
func (k *Key) many() *Key                  { k.Many = true; return k }
func (k *Key) later(names ...Later) *Key   { k.Later = append(k.Later, names...); return k }
func (k *Key) laterNames(n ...string) *Key { return k.later(laters(n...)...) }

func (k *Key) rewriting(f func(*normalizer, *kdl.Node)) *Key { k.rewrite = f; return k }

func laters(names ...string) []Later {
	out := make([]Later, len(names))
	for i, n := range names {
		out[i] = Later{Name: n}
	}
	return out
}

// Canonical is the name that the reference page, messages and fmt use.
func (k *Key) Canonical() string {
	if k.Type != nil && k.Type.Unit != "" {
		return k.Name + "-" + k.Type.Unit
	}
	return k.Name
}

// accepts says what a name means for this key: whether it is one of its names, and its unit if it carries one.
func (k *Key) accepts(name string) (unit string, ok bool) {
	if name == k.Name {
		return "", true
	}
	if k.Type != nil {
		for _, u := range k.Type.units() {
			if name == k.Name+"-"+u {
				return u, true
			}
		}
	}
	if slices.ContainsFunc(k.Aliases, func(a Alias) bool { return a.Name == name }) {
		return "", true
	}
	return "", false
}

// child finds the key of a child or property by any of its names.
func (k *Key) child(name string) *Key {
	for _, c := range k.Keys {
		if _, ok := c.accepts(name); ok {
			return c
		}
	}
	return nil
}

// in reports whether the key exists in a block whose type is kind.
func (k *Key) in(kind string) bool {
	return len(k.Only) == 0 || slices.Contains(k.Only, kind)
}
