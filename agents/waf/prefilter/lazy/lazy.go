// Package lazy tells whether a regular expression matches in a text, one table look-up a byte: a deterministic automaton whose states are made when a text first leads to them.
//
// It answers for ASCII texts and as long as there are not too many states; for everything else the standard library's matcher does. The answers are the same.
package lazy

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// maxStates bounds the memory of one expression, about a KiB a state.
const maxStates = 600

// end is the place in a state's table for the end of the text.
const end = utf8.RuneSelf

// state is where threads of the program can be after what has been read.
type state struct {
	next    [end + 1]atomic.Pointer[state]
	at      []uint32 // instructions to go on with, sorted
	before  rune     // stands for the character before: none, an end of line, part of a word, or none of these
	matched bool
}

// Regexp is a compiled expression, safe for use by many goroutines.
type Regexp struct {
	slow  *regexp.Regexp
	prog  *syntax.Prog
	start *state
	full  atomic.Bool // there are too many states

	mu     sync.Mutex // guards states
	states map[string]*state
}

// Compile compiles an expression of package regexp.
func Compile(expression string) (*Regexp, error) {
	slow, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	r := &Regexp{slow: slow, prog: prog, states: map[string]*state{}}
	r.start = &state{before: -1}
	return r, nil
}

// Slow returns the expression for what needs more than an answer.
func (r *Regexp) Slow() *regexp.Regexp { return r.slow }

// MatchString tells whether the expression matches somewhere in the text.
func (r *Regexp) MatchString(text string) bool {
	if r.full.Load() {
		return r.slow.MatchString(text)
	}
	s := r.start
	for i := 0; i <= len(text); i++ {
		c := byte(end)
		if i < len(text) {
			if c = text[i]; c >= utf8.RuneSelf {
				return r.slow.MatchString(text)
			}
		}
		to := s.next[c].Load()
		if to == nil {
			if to = r.step(s, rune(c)); to == nil {
				return r.slow.MatchString(text)
			}
		}
		if s = to; s.matched {
			return true
		}
	}
	return false
}

// step makes the state that a character, or the end, leads to. It returns nil when there are too many.
func (r *Regexp) step(s *state, c rune) *state {
	after := c
	if c == end {
		after = -1
	}
	seen := make([]bool, len(r.prog.Inst))
	var to []uint32
	matched := r.follow(uint32(r.prog.Start), syntax.EmptyOpContext(s.before, after), seen, after, &to)
	for _, pc := range s.at {
		matched = r.follow(pc, syntax.EmptyOpContext(s.before, after), seen, after, &to) || matched
	}
	slices.Sort(to)
	made := r.intern(&state{at: slices.Compact(to), before: standFor(after), matched: matched})
	if made != nil {
		s.next[c].Store(made)
	}
	return made
}

// follow goes on from an instruction as far as that takes no character, and notes where the next character leads. It tells whether the expression has matched.
func (r *Regexp) follow(pc uint32, context syntax.EmptyOp, seen []bool, c rune, to *[]uint32) (matched bool) {
	if seen[pc] {
		return false
	}
	seen[pc] = true
	switch in := &r.prog.Inst[pc]; in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		matched = r.follow(in.Out, context, seen, c, to)
		return r.follow(in.Arg, context, seen, c, to) || matched
	case syntax.InstCapture, syntax.InstNop:
		return r.follow(in.Out, context, seen, c, to)
	case syntax.InstEmptyWidth:
		if syntax.EmptyOp(in.Arg)&^context == 0 {
			return r.follow(in.Out, context, seen, c, to)
		}
	case syntax.InstMatch:
		return true
	case syntax.InstFail:
	default:
		if c >= 0 && in.MatchRune(c) {
			*to = append(*to, in.Out)
		}
	}
	return false
}

// standFor returns a character that assertions cannot tell from another.
func standFor(c rune) rune {
	switch {
	case c < 0 || c == '\n':
		return c
	case syntax.IsWordChar(c):
		return 'a'
	}
	return ' '
}

// intern returns the state that is already there, or keeps this one.
func (r *Regexp) intern(s *state) *state {
	if s.matched {
		s.at = nil
	}
	key := make([]byte, 0, 4*len(s.at)+2)
	key = append(key, byte(s.before))
	if s.matched {
		key = append(key, 1)
	}
	for _, pc := range s.at {
		key = append(key, byte(pc), byte(pc>>8), byte(pc>>16), byte(pc>>24))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.states[string(key)]; known != nil {
		return known
	}
	if len(r.states) >= maxStates {
		r.full.Store(true)
		return nil
	}
	r.states[string(key)] = s
	return s
}
