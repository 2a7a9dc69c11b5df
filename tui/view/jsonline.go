package view

import (
	"encoding/json"
	"slices"
	"strings"
)

// firstKeys come first and without their names where they speak for themselves; skippedKeys are on the line already, or too long
// to be of use on one line. Opening the line shows everything.
var (
	firstKeys   = []string{"msg", "message", "event_type", "method", "path", "status", "status_code", "duration_ms", "action", "reason", "error"}
	bareKeys    = []string{"msg", "message", "event_type", "method", "path"}
	skippedKeys = []string{"time", "timestamp", "ts", "level", "trace_id", "span_id", "instance_id", "service"}
)

// maxLineFields bounds the work on one line.
const maxLineFields = 64

// field is one member of a JSON object.
type field struct{ name, value string }

// condense shortens a log line that is one JSON object to what a person looks for: the message first, then name=value. Any other
// line stays as it is.
func condense(text string) string {
	fields, ok := lineFields(text)
	if !ok {
		return text
	}
	slices.SortStableFunc(fields, func(a, b field) int { return fieldRank(a.name) - fieldRank(b.name) })
	var parts []string
	for _, f := range fields {
		switch {
		case slices.Contains(skippedKeys, f.name) || f.value == "":
		case slices.Contains(bareKeys, f.name):
			parts = append(parts, f.value)
		case strings.ContainsAny(f.value, " \t"):
			parts = append(parts, f.name+"='"+f.value+"'")
		default:
			parts = append(parts, f.name+"="+f.value)
		}
	}
	return strings.Join(parts, " ")
}

func fieldRank(name string) int {
	if i := slices.Index(firstKeys, name); i >= 0 {
		return i
	}
	return len(firstKeys)
}

// lineFields reads the members of a JSON object in their order; values that are not strings stay as written.
func lineFields(text string) ([]field, bool) {
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(strings.TrimSpace(text), "}") {
		return nil, false
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	var fields []field
	for dec.More() && len(fields) < maxLineFields {
		name, err := dec.Token()
		key, isString := name.(string)
		if err != nil || !isString {
			return nil, false
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, false
		}
		value := string(raw)
		var s string
		if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
			value = s
		}
		fields = append(fields, field{key, value})
	}
	return fields, len(fields) > 0
}

// requestID returns the request id a JSON log line carries, or "".
func requestID(text string) string {
	fields, _ := lineFields(text)
	for _, f := range fields {
		if f.name == "request_id" {
			return f.value
		}
	}
	return ""
}
