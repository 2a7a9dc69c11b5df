package seclang

import (
	"fmt"
	"strings"
)

// targets reads a list of variables into those there are already: an exception applies to those before it.
func targets(list []Target, text string) ([]Target, error) {
	for text != "" {
		var one string
		one, text = cutTarget(text)
		not, count := false, false
		for one != "" && (one[0] == '!' || one[0] == '&') {
			not, count = not || one[0] == '!', count || one[0] == '&'
			one = one[1:]
		}
		name, key, _ := strings.Cut(one, ":")
		t := Target{Variable: strings.ToUpper(name), Key: keyOf(key), Count: count}
		switch {
		case name == "":
			return nil, fmt.Errorf("variable without a name in %.80s", text)
		case t.Variable == "XML" || t.Variable == "JSON":
			t.Key = Key{}
		case t.Key.Rx && t.Key.Text == "":
			return nil, fmt.Errorf("empty regular expression for keys of %s", name)
		}
		if !not {
			list = append(list, t)
			continue
		}
		for i := range list {
			if list[i].Variable == t.Variable {
				list[i].Except = append(list[i].Except[:len(list[i].Except):len(list[i].Except)], t.Key)
			}
		}
	}
	return list, nil
}

// cutTarget cuts the first variable off: at a bar that is not within a regular expression.
func cutTarget(text string) (one, rest string) {
	body := 0
	if i := strings.IndexAny(text, ":|"); i >= 0 && text[i] == ':' {
		key := strings.TrimPrefix(text[i+1:], "'")
		if upper := strings.ToUpper(strings.TrimLeft(text[:i], "!&")); strings.HasPrefix(key, "/") && upper != "XML" && upper != "JSON" {
			body = len(text) - len(key) + 1
			for escaped := false; body < len(text) && (escaped || text[body] != '/'); body++ {
				escaped = text[body] == '\\' && !escaped
			}
		}
	}
	end := strings.IndexByte(text[body:], '|')
	if end < 0 {
		return text, ""
	}
	return text[:body+end], text[body+end+1:]
}

func keyOf(text string) Key {
	text = strings.Trim(text, "'")
	if len(text) >= 2 && text[0] == '/' && text[len(text)-1] == '/' {
		return Key{Text: text[1 : len(text)-1], Rx: true}
	}
	return Key{Text: text}
}
