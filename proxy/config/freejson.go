package config

import (
	"encoding/json"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// freeJSON turns a block into the JSON that an agent is configured with, keys sorted:
//
//	name 1              "name": 1
//	name "a" "b"        "name": ["a", "b"]
//	name                "name": true
//	name { x 1 }        "name": {"x": 1}
//	name k="v" { x 1 }  "name": {"k": "v", "x": 1}
//	name "a" { x 1 }    "name": {"value": "a", "x": 1}
//	name … and again    "name": [first, second]
func (d *decoder) freeJSON(n *kdl.Node) string {
	data, err := json.Marshal(d.object(n))
	if err != nil {
		d.report.fail(n.NameSpan, "config-json", "", "cannot turn this block into JSON: %v", err)
		return ""
	}
	if len(data) > MaxAgentConfig {
		d.report.fail(n.NameSpan, "config-json", "give the agent a file to read", "as JSON this block has %d bytes, and an agent can be given at most %d", len(data), MaxAgentConfig)
		return ""
	}
	return string(data)
}

// MaxAgentConfig is how many bytes of configuration the agent protocol carries.
const MaxAgentConfig = 1 << 20

func (d *decoder) object(n *kdl.Node) map[string]any {
	out := map[string]any{}
	for _, p := range n.Props {
		out[p.Key] = d.plain(p.Value)
	}
	several := map[string][]any{}
	for _, c := range n.Children {
		if _, clash := n.Prop(c.Name); clash {
			d.report.fail(c.NameSpan, "duplicate-key", "", "%s is both a property and a child here", kdl.Quote(c.Name))
			continue
		}
		several[c.Name] = append(several[c.Name], d.any(c))
	}
	for name, values := range several {
		if len(values) == 1 {
			out[name] = values[0]
		} else {
			out[name] = values
		}
	}
	return out
}

func (d *decoder) any(n *kdl.Node) any {
	var args []any
	for _, v := range n.Args {
		args = append(args, d.plain(v))
	}
	var value any
	switch len(args) {
	case 0:
	case 1:
		value = args[0]
	default:
		value = args
	}
	switch {
	case n.Block || len(n.Props) > 0:
		out := d.object(n)
		if len(args) > 0 {
			if _, clash := out["value"]; clash {
				d.report.fail(n.Args[0].Span, "duplicate-key", "", "this value would be called \"value\", which is there already")
			}
			out["value"] = value
		}
		return out
	case len(args) == 0:
		return true
	}
	return value
}

func (d *decoder) plain(v kdl.Value) any {
	switch v.Kind {
	case kdl.String:
		return v.Str
	case kdl.Int:
		return v.Int
	case kdl.Float:
		if v.Float-v.Float == 0 {
			return v.Float
		}
	case kdl.Bool:
		return v.Bool
	case kdl.Null:
		return nil
	}
	d.report.fail(v.Span, "wrong-type", "", "this number has no JSON form")
	return nil
}
