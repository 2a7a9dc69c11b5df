package seclang

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// change applies a directive that changes rules above it.
func (r *reader) change(name, options string) error {
	switch name {
	case "secruleremovebytag":
		r.remove(func(x *Rule) bool { return slices.Contains(x.Tags, options) })
		return nil
	case "secruleremovebymsg":
		r.remove(func(x *Rule) bool { return x.Msg == options && x.Marker == "" })
		return nil
	case "secruleremovebyid":
		for _, word := range strings.Fields(options) {
			match, err := byID(word)
			if err != nil {
				return fmt.Errorf("SecRuleRemoveById: %v", err)
			}
			r.remove(func(x *Rule) bool { return match(x.ID) })
		}
		return nil
	case "secruleupdatetargetbyid", "secruleupdatetargetbytag":
		return r.retarget(name, strings.Fields(options))
	}
	return fmt.Errorf("directive %s is not understood", name)
}

func (r *reader) remove(match func(*Rule) bool) {
	r.rules = slices.DeleteFunc(r.rules, func(x Rule) bool { return match(&x) })
}

// retarget adds targets or exceptions to the first link of rules.
func (r *reader) retarget(name string, words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("%s wants a rule and variables", name)
	}
	match := func(x *Rule) bool { return slices.Contains(x.Tags, strings.Trim(words[0], `"`)) }
	if name == "secruleupdatetargetbyid" {
		id, err := byID(words[0])
		if err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
		match = func(x *Rule) bool { return id(x.ID) }
	}
	for i := range r.rules {
		x := &r.rules[i]
		if x.Marker != "" || !match(x) {
			continue
		}
		list, err := targets(x.Links[0].Targets, strings.Trim(words[1], `"`))
		if err != nil {
			return err
		}
		x.Links[0].Targets = list
	}
	return nil
}

// byID returns what tells whether an id is the one, or within the range, of a text.
func byID(text string) (func(int) bool, error) {
	low, high, ranged := strings.Cut(text, "-")
	a, err := strconv.Atoi(low)
	b := a
	if err == nil && ranged {
		b, err = strconv.Atoi(high)
	}
	if err != nil || b < a {
		return nil, fmt.Errorf("%q is no rule id or range of them", text)
	}
	return func(id int) bool { return id >= a && id <= b && id != 0 }, nil
}

// Selects tells whether what a ctl action names, "942100", "942100-942199" or with ByTag a tag, is this rule.
func (r *Rule) Selects(by, what string) bool {
	switch strings.ToLower(by) {
	case "tag":
		return slices.Contains(r.Tags, what)
	case "msg":
		return r.Msg == what
	}
	match, err := byID(what)
	return err != nil || match(r.ID)
}
