package literal

import "slices"

// product returns every text of a followed by every one of b, or nil when those are more than most.
func product(a, b []string, most int) []string {
	if a == nil || b == nil || len(a)*len(b) > most {
		return nil
	}
	out := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, x+y)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// cut shortens texts to what comes first, or last.
func cut(list []string, last bool) []string {
	out := slices.Clone(list)
	for i, s := range out {
		if len(s) <= maxLength {
			continue
		}
		if out[i] = s[:maxLength]; last {
			out[i] = s[len(s)-maxLength:]
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// chain walks along the parts of a concatenation and keeps what the text just before the next part can be.
func chain(parts int, at func(int) need) need {
	out := need{}
	run, whole := []string{""}, true // run: every text the parts since some point can have been
	flush := func() {
		if c, ok := clauseOf(run); ok {
			out.clauses = append(out.clauses, c)
		}
		if whole {
			out.prefix = cut(run, false)
		}
		whole = false
	}
	for i := range parts {
		n := at(i)
		out.clauses = append(out.clauses, n.clauses...)
		if n.exact != nil {
			if longer := product(run, n.exact, max(maxExact, len(n.exact))); longer != nil && (len(run) == 1 && run[0] == "" || len(longer) <= maxExact) {
				run = longer
				continue
			}
			flush()
			run = n.exact
			continue
		}
		if longer := product(run, n.prefix, maxExact); longer != nil {
			run = longer
		} else if c, ok := clauseOf(n.prefix); ok {
			out.clauses = append(out.clauses, c)
		}
		flush()
		if run = n.suffix; run == nil {
			run = []string{""}
		}
	}
	if whole {
		out.exact = run
		return out
	}
	if c, ok := clauseOf(run); ok {
		out.clauses = append(out.clauses, c)
	}
	out.suffix = cut(run, true)
	return out
}

// either is what is known when one of some alternatives matches.
func either(parts int, at func(int) need) need {
	out := need{exact: []string{}, prefix: []string{}, suffix: []string{}}
	choice, known := Clause{}, true
	for i := range parts {
		n := at(i)
		if out.exact != nil && n.exact != nil && len(out.exact)+len(n.exact) <= maxChoice {
			out.exact = append(out.exact, n.exact...)
		} else {
			out.exact = nil
		}
		out.prefix = both(out.prefix, n.prefix, n.exact)
		out.suffix = both(out.suffix, n.suffix, n.exact)
		if b := best(n.all()); len(b) > 0 {
			choice.merge(&b[0])
		} else {
			known = false
		}
	}
	if known {
		out.clauses = []Clause{choice}
	}
	return out
}

// both adds to a list of possible beginnings, or ends, those of another alternative.
func both(list, more, exact []string) []string {
	if more == nil {
		more = exact
	}
	if list == nil || more == nil || len(list)+len(more) > maxAffix {
		return nil
	}
	return append(list, more...)
}
