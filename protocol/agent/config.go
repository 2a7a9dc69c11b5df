package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// DecodeConfig decodes configuration into the struct v points at, strictly: unknown keys, keys given twice, wrong types and trailing data are errors that
// name the key by its path ("lists.paths[2]: cannot use number, want string"). Keys are the json tags, matched exactly. Fields that the text does not
// mention keep the value they have, so defaults are set before the call. An empty text and null change nothing.
func DecodeConfig(config json.RawMessage, v any) error {
	dst := reflect.ValueOf(v)
	if dst.Kind() != reflect.Pointer || dst.Elem().Kind() != reflect.Struct {
		return errors.New("cannot decode configuration: target is not a pointer to a struct")
	}
	if text := bytes.TrimSpace(config); len(text) == 0 || string(text) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(config))
	dec.UseNumber()
	if err := checkValue(dec, dst.Elem().Type(), ""); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("cannot decode configuration: text after the end")
	}
	if err := json.Unmarshal(config, v); err != nil {
		return keyError(err)
	}
	return nil
}

// keyError rewrites an error of encoding/json so that it names the key.
func keyError(err error) error {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) && te.Field != "" {
		return fmt.Errorf("%s: cannot use %s, want %s", te.Field, te.Value, te.Type)
	}
	return fmt.Errorf("cannot decode configuration: %v", err)
}

// checkValue reads one value and checks it against t, before encoding/json (which is lenient about names and duplicates) sees it.
func checkValue(dec *json.Decoder, t reflect.Type, path string) error {
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("cannot decode configuration: %v", err)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		t = nil // decodes itself; its inside is its own business
	}
	switch tok {
	case json.Delim('{'):
		return checkObject(dec, t, path)
	case json.Delim('['):
		return checkArray(dec, t, path)
	}
	if t == nil || tok == nil {
		return nil
	}
	return checkScalar(tok, t, path)
}

func checkScalar(tok json.Token, t reflect.Type, path string) error {
	want, ok := "", true
	switch k := t.Kind(); {
	case k == reflect.Interface || reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()):
		return nil
	case k == reflect.String:
		_, ok = tok.(string)
		want = "string"
	case k == reflect.Bool:
		_, ok = tok.(bool)
		want = "boolean"
	case k >= reflect.Int && k <= reflect.Float64:
		_, ok = tok.(json.Number)
		want = "number"
	case k == reflect.Slice || k == reflect.Array:
		ok, want = false, "list"
	case k == reflect.Struct || k == reflect.Map:
		ok, want = false, "object"
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%s: cannot use %s, want %s", orConfig(path), tokenName(tok), want)
}

func checkObject(dec *json.Decoder, t reflect.Type, path string) error {
	if t != nil && t.Kind() != reflect.Struct && t.Kind() != reflect.Map && t.Kind() != reflect.Interface {
		return fmt.Errorf("%s: cannot use object, want %s", orConfig(path), kindName(t))
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("cannot decode configuration: %v", err)
		}
		key := tok.(string) // inside an object the decoder yields string keys only
		at := key
		if path != "" {
			at = path + "." + key
		}
		if seen[key] {
			return fmt.Errorf("%s: key given twice", at)
		}
		seen[key] = true
		elem, err := elemType(t, key, at)
		if err != nil {
			return err
		}
		if err := checkValue(dec, elem, at); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// elemType returns the type of the value under key, nil when anything goes.
func elemType(t reflect.Type, key, at string) (reflect.Type, error) {
	if t == nil || t.Kind() == reflect.Interface {
		return nil, nil
	}
	if t.Kind() == reflect.Map {
		return t.Elem(), nil
	}
	fields := fieldTypes(t)
	if ft, ok := fields[key]; ok {
		return ft, nil
	}
	known := make([]string, 0, len(fields))
	for name := range fields {
		known = append(known, name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("%s: unknown key (known: %s)", at, strings.Join(known, ", "))
}

// fieldTypes returns the JSON names of a struct's fields and their types.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch name {
		case "-":
			continue
		case "":
			name = f.Name
		}
		out[name] = f.Type
	}
	return out
}

func checkArray(dec *json.Decoder, t reflect.Type, path string) error {
	var elem reflect.Type
	if t != nil && t.Kind() != reflect.Interface {
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
			return fmt.Errorf("%s: cannot use list, want %s", orConfig(path), kindName(t))
		}
		elem = t.Elem()
	}
	for i := 0; dec.More(); i++ {
		if err := checkValue(dec, elem, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func orConfig(path string) string {
	if path == "" {
		return "config"
	}
	return path
}

func tokenName(tok json.Token) string {
	switch tok.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	}
	return fmt.Sprint(tok)
}

func kindName(t reflect.Type) string {
	switch k := t.Kind(); {
	case k == reflect.String:
		return "string"
	case k == reflect.Bool:
		return "boolean"
	case k >= reflect.Int && k <= reflect.Float64:
		return "number"
	case k == reflect.Slice || k == reflect.Array:
		return "list"
	}
	return "object"
}
