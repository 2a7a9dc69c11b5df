package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Texts is a key of a configuration that takes any number of texts: one text, a list, or, where the key was written several times, a list of both. It keeps the JSON text, so that
// an error in it can be told together with the key.
type Texts struct{ raw json.RawMessage }

// UnmarshalJSON keeps a copy.
func (t *Texts) UnmarshalJSON(raw []byte) error {
	t.raw = slices.Clone(raw)
	return nil
}

// List returns the texts; none when the key is absent. key is its path, for the error.
func (t Texts) List(key string) ([]string, error) { return t.list(key, false) }

// ListOfAny is List for a key whose texts may be written as numbers, such as ids.
func (t Texts) ListOfAny(key string) ([]string, error) { return t.list(key, true) }

func (t Texts) list(key string, numbers bool) ([]string, error) {
	if t.raw == nil {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(t.raw))
	dec.UseNumber()
	var any any
	if err := dec.Decode(&any); err != nil {
		return nil, fmt.Errorf("%s: %v", key, err)
	}
	out, err := appendTexts(nil, any, key, 2, numbers)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: wants at least one value", key)
	}
	return out, err
}

// appendTexts appends the texts in v, which may nest lists so many levels deep, and returns the first error.
func appendTexts(out []string, v any, key string, levels int, numbers bool) ([]string, error) {
	wrong := ""
	switch v := v.(type) {
	case string:
		return append(out, v), nil
	case []any:
		if levels == 0 {
			wrong = "list"
			break
		}
		for i, elem := range v {
			var err error
			if out, err = appendTexts(out, elem, fmt.Sprintf("%s[%d]", key, i), levels-1, numbers); err != nil {
				return out, err
			}
		}
		return out, nil
	case json.Number:
		if numbers {
			return append(out, v.String()), nil
		}
		wrong = "number " + v.String()
	case bool:
		wrong = "boolean"
	case nil:
		return out, fmt.Errorf("%s: wants at least one value", key)
	default:
		wrong = "object"
	}
	return out, fmt.Errorf("%s: cannot use %s, want text", key, wrong)
}
