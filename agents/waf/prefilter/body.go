package prefilter

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// pairs adds the parameters of a query or form, or says that there are too many.
func (v *visit) pairs(text string, values, names class) bool {
	n := 0
	for text != "" {
		var pair string
		if pair, text, _ = strings.Cut(text, "&"); pair == "" {
			continue
		}
		if n++; n >= v.filter.limits.Arguments {
			return false
		}
		name, value, _ := strings.Cut(pair, "=")
		v.argument(transform.URLDecode(name), transform.URLDecode(value), values, names)
	}
	return true
}

func (v *visit) argument(name, value string, values, names class) {
	key := strings.ToLower(name)
	v.add(values, key, value)
	v.add(names, key, name)
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// readBody takes a body apart, or says that it is of a kind that is not judged here.
func (v *visit) readBody(data []byte) bool {
	switch v.processor {
	case "":
		if !v.forced {
			return true // nobody looks into it
		}
		v.processor = "URLENCODED"
	case "JSON":
		return v.readJSON(string(data))
	case "URLENCODED":
	default:
		return false
	}
	text := string(data)
	v.form = true
	v.add(body, "", text)
	v.add(bodyLength, "", strconv.Itoa(len(text)))
	first := len(v.inputs)
	if !v.pairs(text, argPost, argPostName) {
		return false
	}
	return !v.sameButForCase(first)
}

// sameButForCase tells whether two parameters have names that differ in nothing but case: of those the engine keeps only one.
func (v *visit) sameButForCase(first int) bool {
	var seen map[string]string
	for i := first; i < len(v.inputs); i++ {
		in := &v.inputs[i]
		if in.class != argPostName {
			continue
		}
		if seen == nil {
			seen = map[string]string{}
		}
		if other, known := seen[in.key]; known && other != in.value {
			return true
		}
		seen[in.key] = in.value
	}
	return false
}

// flat is a JSON text on its way to becoming parameters, under the engine's limits.
type flat struct {
	v      *visit
	key    []byte
	args   int
	lens   int
	budget int
}

func (v *visit) readJSON(text string) bool {
	f := flat{v: v, key: []byte("json"), budget: max(len(text)*8, 4096)}
	depth := v.filter.limits.JSONDepth
	return !tooDeep(text, depth) && gjson.Valid(text) && f.items(gjson.Parse(text), depth)
}

// tooDeep tells whether brackets are nested deeper than a limit, without nesting calls.
func tooDeep(text string, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// items adds the values of an object or a list, or says that it is beyond a limit.
func (f *flat) items(value gjson.Result, depth int) (ok bool) {
	if depth <= 0 {
		return false
	}
	length, ok, outer := 0, true, len(f.key)
	value.ForEach(func(key, value gjson.Result) bool {
		f.key = append(f.key[:outer], '.')
		if key.Type == gjson.String {
			f.key = append(f.key, key.Str...)
		} else {
			f.key = strconv.AppendInt(f.key, int64(key.Num), 10)
			length++
		}
		switch value.Type {
		case gjson.JSON:
			ok = f.items(value, depth-1)
		case gjson.String:
			ok = f.leaf(value.Str, &f.args)
		case gjson.Null:
			ok = f.leaf("", &f.args)
		default:
			ok = f.leaf(value.Raw, &f.args)
		}
		return ok
	})
	f.key = f.key[:outer]
	return ok && (length == 0 || f.leaf(strconv.Itoa(length), &f.lens))
}

func (f *flat) leaf(value string, count *int) bool {
	*count++
	f.budget -= len(f.key) + len(value)
	f.v.argument(string(f.key), value, argPost, argPostName)
	return f.budget >= 0 && *count < f.v.filter.limits.Arguments
}
