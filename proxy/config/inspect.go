package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Setting is one effective value and where it comes from.
type Setting struct {
	Path   string `json:"path"`            // as in routes.api.upstream
	Value  string `json:"value"`           // as KDL; of a string with variables the text as written, so that no secret is shown
	Origin string `json:"origin"`          // file:line:col, or "default"
	Unset  string `json:"unset,omitempty"` // what holds in place of an absent value
}

// Settings lists the effective configuration in the order of the schema.
func (l *Loaded) Settings() []Setting {
	var out []Setting
	l.walk(Schema(), reflect.ValueOf(&l.Config).Elem(), "", func(s Setting, _ *Key, _ int) { out = append(out, s) }, nil, 0)
	return out
}

// walk visits every effective value; enter is called for each block and item, with the text of its head, and again with "" at
// its end.
func (l *Loaded) walk(k *Key, v reflect.Value, path string, visit func(Setting, *Key, int), enter func(head, origin string, depth int), depth int) {
	kind := ""
	if t := k.child("type"); t != nil && t.Type.Name == "keyword" {
		kind = v.FieldByName("Type").String()
	}
	for _, key := range k.Keys {
		if kind != "" && !key.in(kind) {
			continue
		}
		at := join(path, key.Name)
		switch key.Shape {
		case ShapeBlock:
			l.walkBlock(key, v, at, visit, enter, depth)
		case ShapeItems:
			l.walkItems(key, v, at, visit, enter, depth)
		default:
			if f, ok := peek(v, key.Field); ok {
				visit(l.setting(key, f, at), key, depth)
			}
		}
	}
}

func (l *Loaded) walkBlock(key *Key, v reflect.Value, at string, visit func(Setting, *Key, int), enter func(head, origin string, depth int), depth int) {
	f, ok := peek(v, key.Field)
	if _, written := l.origins[at]; !ok || key.Optional && !written {
		return
	}
	if enter != nil {
		enter(key.Name, "", depth)
		defer enter("", "", depth)
	}
	l.walk(key, f, at, visit, enter, depth+1)
}

func (l *Loaded) walkItems(key *Key, v reflect.Value, at string, visit func(Setting, *Key, int), enter func(head, origin string, depth int), depth int) {
	slice, ok := peek(v, key.Field)
	if !ok {
		return
	}
	for i := range slice.Len() {
		element := slice.Index(i)
		id := element.FieldByName(key.IDField).String()
		path := join(itemsPath(at, key.Name), id)
		if enter != nil {
			enter(key.Name+" "+kdl.Quote(id), l.origin(path), depth)
		}
		l.walk(key, element, path, visit, enter, depth+1)
		if enter != nil {
			enter("", "", depth)
		}
	}
}

// peek follows field names without making anything; ok is false below a nil pointer.
func peek(v reflect.Value, path string) (reflect.Value, bool) {
	if path != "" {
		for name := range strings.SplitSeq(path, ".") {
			if v.Kind() == reflect.Pointer {
				if v.IsNil() {
					return v, false
				}
				v = v.Elem()
			}
			v = v.FieldByName(name)
		}
	}
	if v.Kind() == reflect.Pointer {
		return v.Elem(), !v.IsNil()
	}
	return v, true
}

// Written says whether the value at path stands in the file.
func (l *Loaded) Written(path string) bool { _, ok := l.origins[path]; return ok }

func (l *Loaded) origin(path string) string {
	at, ok := l.origins[path]
	if !ok && strings.HasPrefix(path, "agents.") {
		// What an agent does not say about its process comes from stack.defaults.
		for _, block := range []string{".restart.", ".stop.", ".limits."} {
			if i := strings.LastIndex(path, block); i >= 0 {
				at, ok = l.origins["stack.defaults"+path[i:]]
			}
		}
	}
	if ok {
		return at.String()
	}
	return "default"
}

func (l *Loaded) setting(key *Key, f reflect.Value, path string) Setting {
	s := Setting{Path: path, Value: showValue(key, f), Origin: l.origin(path)}
	switch at := l.origins[path]; {
	case key.Shape == ShapeFree && f.String() != "" && l.hasVariables(at):
		s.Value = `"(holds values from the environment)"`
	case key.Shape == ShapeValue && l.hasVariables(at):
		s.Value = kdl.Quote(l.written[at])
	case slices.ContainsFunc(l.lists[path], l.hasVariables):
		s.Value = l.writtenList(path)
	}
	if s.Origin == "default" && f.IsZero() && key.Unset != "" {
		s.Value, s.Unset = "", key.Unset
	}
	return s
}

// writtenList shows the elements of a list as they stand in the file, of those with variables the text before expansion.
func (l *Loaded) writtenList(path string) string {
	var parts []string
	for _, at := range l.lists[path] {
		parts = append(parts, string(at.Source.Text[at.Start.Offset:at.End.Offset]))
	}
	return strings.Join(parts, " ")
}

// hasVariables reports whether a string inside a span was written with variables.
func (l *Loaded) hasVariables(within kdl.Span) bool {
	for at := range l.written {
		if at.Source == within.Source && at.Start.Offset >= within.Start.Offset && at.End.Offset <= within.End.Offset {
			return true
		}
	}
	return false
}

// showValue is a field as the arguments of a KDL node; "" when there is none.
func showValue(key *Key, f reflect.Value) string {
	switch v := f.Interface().(type) {
	case time.Duration:
		return kdl.Quote(shortDuration(v))
	case Address:
		return kdl.Quote(v.String())
	case netip.AddrPort:
		if !v.IsValid() {
			return ""
		}
		return kdl.Quote(v.String())
	case []NameValue:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = kdl.Quote(p.Name)
			if p.HasValue {
				parts[i] += "=" + kdl.Quote(p.Value)
			}
		}
		return strings.Join(parts, " ")
	}
	switch f.Kind() {
	case reflect.String:
		if f.String() == "" {
			return ""
		}
		return kdl.Quote(f.String())
	case reflect.Bool:
		return "#" + strconv.FormatBool(f.Bool())
	case reflect.Int, reflect.Int64:
		if key.Type != nil && key.Type.Name == "size" {
			return kdl.Quote(showSize(f.Int()))
		}
		if key.Type != nil && key.Type.Name == "percent" {
			return kdl.Quote(strconv.FormatInt(f.Int(), 10) + "%")
		}
		return strconv.FormatInt(f.Int(), 10)
	case reflect.Slice:
		parts := make([]string, f.Len())
		for i := range parts {
			switch e := f.Index(i).Interface().(type) {
			case netip.Prefix:
				parts[i] = kdl.Quote(e.String())
			case int:
				parts[i] = strconv.Itoa(e)
			default:
				parts[i] = kdl.Quote(fmt.Sprint(e))
			}
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(f.Interface())
}

// Describe renders the effective configuration like a configuration file, with the origin of each value behind it.
func (l *Loaded) Describe() string {
	type line struct{ text, note string }
	var lines []line
	pad := func(depth int) string { return strings.Repeat("    ", depth) }
	enter := func(head, origin string, depth int) {
		switch {
		case head == "":
			if last := len(lines) - 1; strings.HasSuffix(lines[last].text, " {") && strings.HasPrefix(lines[last].text, pad(depth)) && !strings.HasPrefix(lines[last].text, pad(depth)+" ") {
				lines[last].text += "}"
			} else {
				lines = append(lines, line{pad(depth) + "}", ""})
			}
		default:
			lines = append(lines, line{pad(depth) + head + " {", origin})
		}
	}
	visit := func(s Setting, k *Key, depth int) {
		text, note := pad(depth)+k.Name+" "+s.Value, s.Origin
		if s.Value == "" {
			text = pad(depth) + "// " + k.Name
			if note = "unset"; s.Unset != "" {
				note = "unset: " + s.Unset
			}
		}
		lines = append(lines, line{text, note})
	}
	l.walk(Schema(), reflect.ValueOf(&l.Config).Elem(), "", visit, enter, 0)
	width := 0
	for _, n := range lines {
		if w := len([]rune(n.text)); w <= 60 {
			width = max(width, w)
		}
	}
	var b strings.Builder
	for _, n := range lines {
		b.WriteString(n.text)
		if n.note != "" {
			b.WriteString(strings.Repeat(" ", max(1, width-len([]rune(n.text))+2)) + "// " + n.note)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
