package prefilter

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
)

// effects decides of the quiet rules which may fire on a clean request: those whose actions can at most keep other rules from firing, or say how the body is read.
// The others count like rules that have something to say.
func (c *compiler) effects() error {
	for i := range c.filter.rules {
		r := &c.filter.rules[i]
		for j := range r.links {
			for k := range r.links[j].sets {
				if s := &r.links[j].sets[k]; !c.ownAffair(s, r.src) {
					r.links[j].final = true
				}
			}
		}
	}
	drop := map[int]bool{}
	// Rules that skip come first: which they count on must be known when others are asked what they take away.
	slices.SortStableFunc(c.quiet, func(a, b quiet) int { return skips(b) - skips(a) })
	for _, q := range c.quiet {
		flow, harmless := c.harmless(q)
		switch {
		case q.at < 0 && (flow || !harmless):
			return fmt.Errorf("rule %d does on every request what is not understood", q.src.ID)
		case q.at < 0:
		case harmless && flow && c.filter.rules[q.at].exact():
			c.filter.flows = append(c.filter.flows, q.at)
		case harmless && !flow:
			drop[q.at] = true
		}
	}
	return c.arrange(drop)
}

// skips returns 1 for a rule that skips by counting.
func skips(q quiet) int {
	for i := range q.src.Links {
		if slices.ContainsFunc(q.src.Links[i].Actions, func(a seclang.Action) bool { return a.Name == "skip" }) {
			return 1
		}
	}
	return 0
}

// arrange takes the rules out that do no harm, and those apart that say how the body is read.
func (c *compiler) arrange(drop map[int]bool) error {
	f := c.filter
	var kept []rule
	var flows []int
	for i := range f.rules {
		if drop[i] {
			continue
		}
		if slices.Contains(f.flows, i) {
			flows = append(flows, len(kept))
		} else if f.rules[i].readsEarly(); f.rules[i].alwaysMay() {
			return fmt.Errorf("rule %d is not understood and has to be asked about every request", f.rules[i].id)
		}
		kept = append(kept, f.rules[i])
		kept[len(kept)-1].src = nil // nobody asks for it any more
	}
	f.rules, f.flows = kept, flows
	return nil
}

// exact tells whether the rule can be evaluated as the engine does it, no less and no more, before there is a body.
func (r *rule) exact() bool {
	for i := range r.links {
		l := &r.links[i]
		if l.op.unknown || !l.op.isFixed && !l.op.always || l.multi || l.final != (i == len(r.links)-1) {
			return false
		}
		for _, t := range l.targets {
			if t.kind != ofText && t.kind != ofClass || slices.ContainsFunc(t.classes, func(c class) bool { return c == body || c == bodyLength || c == argsSize }) {
				return false
			}
		}
	}
	return true
}

// readsEarly marks what looks at how the body is read before that is settled.
func (r *rule) readsEarly() {
	for i := range r.links {
		for j := range r.links[i].targets {
			if t := &r.links[i].targets[j]; r.phase == 1 && slices.Contains(t.classes, processor) {
				t.kind = notHandled
			}
		}
	}
}

// alwaysMay tells whether nothing about the rule could rule out that it fires.
func (r *rule) alwaysMay() bool {
	for i := range r.links {
		l := &r.links[i]
		if !l.op.unknown && !l.op.always && !slices.ContainsFunc(l.targets, func(t target) bool { return t.kind == notHandled }) {
			return false
		}
		if l.final {
			break
		}
	}
	return true
}

// harmless looks at everything that a quiet rule does, and tells beside whether it says how the body is read.
func (c *compiler) harmless(q quiet) (flow, ok bool) {
	for i := range q.src.Links {
		for _, a := range q.src.Links[i].Actions {
			isFlow, fine := c.harmlessAction(q, a)
			if !fine {
				return false, false
			}
			flow = flow || isFlow
		}
	}
	return flow, !flow || q.src.Phase == 1
}

func (c *compiler) harmlessAction(q quiet, a seclang.Action) (flow, ok bool) {
	switch a.Name {
	case "setvar":
		s, err := setvarOf(a.Value)
		return false, q.at < 0 || err == nil && c.ownAffair(&s, q.src) && len(s.foreign) == 0
	case "skip":
		// What is skipped does not fire. That is no loss as long as it does not prepare anything.
		n := 1
		_, err := fmt.Sscan(a.Value, &n)
		return false, q.at < 0 || err == nil && c.onlyJudge(q, n)
	case "skipafter":
		return false, q.at < 0
	case "ctl":
		return c.harmlessControl(q, a.Value)
	}
	return false, false
}

// onlyJudge tells whether the next rules of the phase do nothing but judge, and remembers them: the engine counts those that are there.
func (c *compiler) onlyJudge(q quiet, n int) bool {
	at := slices.IndexFunc(c.all, func(r seclang.Rule) bool { return r.ID == q.src.ID && r.Marker == "" })
	for i := at + 1; i < len(c.all) && n > 0; i++ {
		r := &c.all[i]
		if r.Marker != "" {
			return false
		}
		if r.Phase != q.src.Phase {
			continue
		}
		if slices.Contains(c.acted, r) || !slices.Contains(c.reached, r) || !r.Visible() {
			return false
		}
		c.counted = append(c.counted, r)
		n--
	}
	return n == 0
}

func (c *compiler) harmlessControl(q quiet, text string) (flow, ok bool) {
	if _, ok := controlOf(text); ok {
		return true, true
	}
	name, value, _ := strings.Cut(text, "=")
	switch name {
	case "auditEngine", "auditLogParts", "debugLogLevel":
		return false, true
	}
	if by, ok := strings.CutPrefix(name, "ruleRemoveTargetBy"); ok {
		what, collection, _ := strings.Cut(value, ";")
		variable, _, _ := strings.Cut(strings.TrimSpace(collection), ":")
		return false, c.targetsMayGo(q.src, by, what, strings.ToUpper(strings.TrimSpace(variable)))
	}
	if by, ok := strings.CutPrefix(name, "ruleRemoveBy"); ok {
		return false, c.rulesMayGo(by, value)
	}
	return false, false
}

// rulesMayGo tells whether none of the rules that would go prepares others, or says how the body is read.
func (c *compiler) rulesMayGo(by, what string) bool {
	chosen := func(r *seclang.Rule) bool { return r.Selects(by, what) }
	return !slices.ContainsFunc(c.acted, chosen) && !slices.ContainsFunc(c.counted, chosen) &&
		!slices.ContainsFunc(c.quiet, func(q quiet) bool { return chosen(q.src) && acts(q.src.Links) })
}

// choosesBody tells whether a rule says how the body is read.
func choosesBody(r *seclang.Rule) bool {
	for i := range r.Links {
		for _, a := range r.Links[i].Actions {
			if _, ok := controlOf(a.Value); ok && a.Name == "ctl" {
				return true
			}
		}
	}
	return false
}

// targetsMayGo tells whether rules that see less of a variable can only fire less: they do not count it, nor choose by it how the body is read.
func (c *compiler) targetsMayGo(asker *seclang.Rule, by, what, variable string) bool {
	for _, r := range c.live {
		if r == asker || !r.Selects(by, what) {
			continue
		}
		for i := range r.Links {
			for _, t := range r.Links[i].Targets {
				if t.Variable == variable && (t.Count || choosesBody(r)) {
					return false
				}
			}
		}
	}
	return true
}

// ownAffair tells whether no other rule that is not skipped reads the variables that an action changes. Where that depends on the name it makes, the action notes what the name must not match.
func (c *compiler) ownAffair(s *setvar, owner *seclang.Rule) bool {
	s.foreign = nil
	for _, r := range c.reached {
		for j := range r.Links {
			if r != owner && s.readBy(&r.Links[j]) {
				return false
			}
		}
	}
	return true
}

func (s *setvar) readBy(l *seclang.Link) bool {
	for _, t := range l.Targets {
		switch {
		case t.Variable != "TX":
		case t.Key.Rx:
			if s.matchedBy(t.Key.Text) {
				return true
			}
		case t.Key.Text == "" || s.touches(strings.ToLower(t.Key.Text)):
			return true
		}
	}
	texts := []string{}
	if l.Operator != nil {
		texts = append(texts, l.Operator.Arg)
	}
	for _, a := range l.Actions {
		texts = append(texts, a.Value)
	}
	for _, text := range texts {
		m, err := parseMacro(text)
		if err != nil && l.Operator != nil && l.Operator.Name == "rx" {
			continue // no variables there
		}
		for _, p := range m {
			if name, ok := strings.CutPrefix(p.variable, "tx."); ok && s.touches(name) {
				return true
			}
		}
	}
	return false
}

// matchedBy tells whether an expression for names matches the one that the action makes. When that is not known before, the expression is noted, unless names that it matches begin otherwise.
func (s *setvar) matchedBy(expr string) bool {
	expr = strings.ToLower(expr)
	rx, err := regexp.Compile(expr)
	if err != nil {
		return true
	}
	prefix, whole := s.name.prefix()
	if whole {
		return rx.MatchString(prefix)
	}
	re, _ := syntax.Parse(expr, syntax.Perl)
	if re.Op == syntax.OpConcat && len(re.Sub) > 1 && re.Sub[0].Op == syntax.OpBeginText && re.Sub[1].Op == syntax.OpLiteral && re.Sub[1].Flags&syntax.FoldCase == 0 {
		if begin := string(re.Sub[1].Rune); !strings.HasPrefix(begin, prefix) && !strings.HasPrefix(prefix, begin) {
			return false
		}
	}
	s.foreign = append(s.foreign, rx)
	return false
}
