package prefilter

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sees tells whether one of the link's targets includes an input.
func (l *link) sees(in *input) bool {
	return slices.ContainsFunc(l.targets, func(t target) bool {
		return slices.Contains(t.classes, in.class) && t.selects(in.key)
	})
}

// matches tells whether the link matches a value, transformed. With found it is called with each text that does.
func (l *link) matches(value, arg string, found func(string)) bool {
	some := false
	try := func() {
		if l.op.match(value, arg) != l.op.not {
			if some = true; found != nil {
				found(value)
			}
		}
	}
	for _, f := range l.chain {
		if l.multi {
			try()
		}
		value = f.Apply(value)
	}
	try()
	return some
}

// fires evaluates a rule as the engine does. Where it cannot, it says that the rule fires.
func (v *visit) fires(r *rule) bool {
	clear(v.matched)
	clear(v.notes)
	v.matched, v.notes, v.groups, v.grouped = v.matched[:0], v.notes[:0], v.groups[:0], false
	v.leaks = false
	for i := range r.links {
		l := &r.links[i]
		if !v.linkMatches(r, l) {
			return v.leaks
		}
		if l.final || v.leaks {
			return true
		}
	}
	return true
}

func (v *visit) linkMatches(r *rule, l *link) bool {
	if l.op.always || l.op.unknown {
		return true
	}
	arg, known := l.op.fixed, l.op.isFixed
	if !known {
		if arg, known = expand(l.op.arg, v.groups); !known {
			return true
		}
	}
	matched := len(v.matched)
	some := false
	for i := range l.targets {
		t := &l.targets[i]
		unknown := !v.values(r, t, matched, func(value string) bool {
			var found func(string)
			if l.keeps {
				found = func(text string) { v.keep(l, text) }
			}
			some = l.matches(value, arg, found) || some
			return !some || l.keeps
		})
		if unknown {
			return true
		}
	}
	return some
}

// keep notes what links behind this one may want to know: what matched, and the variables that are set.
func (v *visit) keep(l *link, matched string) {
	v.matched = append(v.matched, matched)
	groups := v.groups
	if l.capture && l.op.rx != nil && !l.op.not {
		groups = l.op.rx.groups(matched)
		switch {
		case !v.grouped:
			v.groups = append(v.groups[:0], groups...)
		case !slices.Equal(v.groups, groups):
			v.groups = v.groups[:0] // more than one: which of them counts later depends on the engine
		}
		v.grouped = true
	}
	for i := range l.sets {
		s := &l.sets[i]
		name, known := expand(s.name, groups)
		value, known2 := expand(s.value, groups)
		counts := strings.HasPrefix(value, "+") || strings.HasPrefix(value, "-")
		name = strings.ToLower(name)
		if !known && len(s.foreign) > 0 || slices.ContainsFunc(s.foreign, func(rx *regexp.Regexp) bool { return rx.MatchString(name) }) {
			v.leaks = true
		}
		v.notes = append(v.notes, note{name, value, known && known2 && !counts})
	}
}

// expand puts in what has been captured. The text is not known when it holds any other variable.
func expand(m macro, groups []string) (string, bool) {
	if len(m) == 1 && m[0].variable == "" {
		return m[0].text, true
	}
	var out strings.Builder
	for _, p := range m {
		if p.variable == "" {
			out.WriteString(p.text)
			continue
		}
		name, _ := strings.CutPrefix(p.variable, "tx.")
		n, err := strconv.Atoi(name)
		if err != nil || n >= len(groups) || n < 0 {
			return "", false
		}
		out.WriteString(groups[n])
	}
	return out.String(), true
}

// values calls each with the values of a target, until that returns false. It returns false when they are not known.
func (v *visit) values(r *rule, t *target, matched int, each func(string) bool) (known bool) {
	switch t.kind {
	case notHandled:
		return false
	case ofText:
		each(t.text)
	case ofMatches:
		for _, m := range v.matched[:matched] {
			each(m)
		}
	case ofTX:
		return v.own(t, each)
	case ofClass:
		v.ofClass(r, t, each)
	}
	return true
}

func (v *visit) ofClass(r *rule, t *target, each func(string) bool) {
	n := 0
	for _, c := range t.classes {
		for _, i := range v.by[c] {
			in := &v.inputs[i]
			value, there := in.seenIn(r.phase)
			if !there || !t.selects(in.key) {
				continue
			}
			if n++; !t.count && !each(value) {
				return
			}
		}
	}
	if t.count {
		each(strconv.Itoa(n))
	}
}

// seenIn returns the input's value as rules of a phase see it: those for the head do not see the body.
func (in *input) seenIn(phase int) (value string, there bool) {
	switch {
	case phase > 1 || !in.class.inBody():
		return in.value, true
	case in.class == body:
		return "", true
	case in.class == bodyLength:
		return "0", true
	}
	return "", false
}

// own calls each with the values that links before have given a variable.
func (v *visit) own(t *target, each func(string) bool) bool {
	if isDigits(t.key.text) {
		n, err := strconv.Atoi(t.key.text)
		if err != nil || n >= len(v.groups) {
			return false
		}
		each(v.groups[n])
		return true
	}
	for i := range v.notes {
		n := &v.notes[i]
		if !n.known {
			return false
		}
		if t.key.selects(n.name) {
			each(n.value)
		}
	}
	return true
}

// flow lets a rule say how the body is read.
func (v *visit) flow(r *rule) {
	v.add(processor, "", v.processor)
	if v.fires(r) {
		for i := range r.links {
			for _, c := range r.links[i].ctl {
				if c.force {
					v.forced = true
				} else {
					v.processor = c.processor
				}
			}
		}
	}
	v.inputs, v.by[processor] = v.inputs[:len(v.inputs)-1], v.by[processor][:0]
}
