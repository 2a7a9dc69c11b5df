package filter

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Rules are compiled header rules, applied in the order rename, set, add, remove. The nil Rules change nothing.
type Rules struct {
	rename, set, add []Field
	remove           []string
	next             *Rules // applied afterwards
}

// Then returns rules that do what r does and then what next does; r is one that CompileRules made.
func (r *Rules) Then(next *Rules) *Rules {
	if r == nil {
		return next
	}
	both := *r
	both.next = next
	return &both
}

// CompileRules checks c once, so that applying it cannot fail. It returns nil when there is nothing to do.
func CompileRules(c config.HeaderRules) (*Rules, error) {
	if len(c.Rename)+len(c.Set)+len(c.Add)+len(c.Remove) == 0 {
		return nil, nil
	}
	r := &Rules{remove: c.Remove}
	for _, f := range c.Rename {
		if err := CheckField(f.Value, ""); err != nil {
			return nil, fmt.Errorf("cannot rename header field %q: %w", f.Name, err)
		}
		if err := CheckField(f.Name, ""); err != nil {
			return nil, err
		}
		r.rename = append(r.rename, Field{f.Name, f.Value})
	}
	for _, f := range c.Set {
		if err := CheckField(f.Name, f.Value); err != nil {
			return nil, err
		}
		r.set = append(r.set, Field{f.Name, f.Value})
	}
	for _, f := range c.Add {
		if err := CheckField(f.Name, f.Value); err != nil {
			return nil, err
		}
		r.add = append(r.add, Field{f.Name, f.Value})
	}
	for _, name := range c.Remove {
		if err := CheckField(name, ""); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Apply changes h.
func (r *Rules) Apply(h *Header) {
	for ; r != nil; r = r.next {
		// The errors were all checked by CompileRules.
		for _, f := range r.rename {
			_ = h.Rename(f.Name, f.Value)
		}
		for _, f := range r.set {
			_ = h.Set(f.Name, f.Value)
		}
		for _, f := range r.add {
			_ = h.Add(f.Name, f.Value)
		}
		for _, name := range r.remove {
			h.Remove(name)
		}
	}
}
