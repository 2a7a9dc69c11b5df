// Package match holds the list matchers of the denylist agent, one type for each kind of thing a list can name.
//
// Every matcher is used in the same three steps: Add each entry, Finish once, then Match from any number of goroutines. Match allocates nothing and
// returns the entry that matched, in the spelling of the list, for the audit log. Its cost grows with the length of what is examined and not with the
// length of the list, except for regular expressions, which are tried one after the other in the order of the list.
package match

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/denylist/cidr"
)

// Networks matches addresses against IP addresses and networks.
type Networks struct {
	builder cidr.Builder
	set     *cidr.Set
}

// Add adds an address or a network. What follows a ';' is a comment, as in the lists that some publishers of networks use.
func (n *Networks) Add(entry []byte) error {
	if i := bytes.IndexByte(entry, ';'); i >= 0 {
		if entry = bytes.TrimSpace(entry[:i]); len(entry) == 0 {
			return nil
		}
	}
	return n.builder.AddText(entry)
}

// Finish makes the matcher ready.
func (n *Networks) Finish() { n.set = n.builder.Build() }

// Len returns the number of distinct entries.
func (n *Networks) Len() int { return n.set.Len() }

// Match returns the network that holds addr.
func (n *Networks) Match(addr netip.Addr) (netip.Prefix, bool) { return n.set.Lookup(addr) }

// Words matches whole words without regard to ASCII case: methods, country codes.
type Words struct {
	Check func(word string) error // refuses what can never match; set before Add
	words map[string]string       // upper case to spelling in the list
}

// Add adds a word.
func (w *Words) Add(entry []byte) error {
	word := string(entry)
	if err := w.Check(word); err != nil {
		return err
	}
	if w.words == nil {
		w.words = map[string]string{}
	}
	w.words[strings.ToUpper(word)] = word
	return nil
}

// Finish makes the matcher ready.
func (w *Words) Finish() {}

// Len returns the number of distinct entries.
func (w *Words) Len() int { return len(w.words) }

// Match looks word up.
func (w *Words) Match(word string) (string, bool) {
	entry, ok := w.words[word]
	if !ok {
		entry, ok = w.words[strings.ToUpper(word)] // allocates only for lower case letters, which are not valid in what is looked up here
	}
	return entry, ok
}

// Regexes matches against regular expressions in RE2 syntax, anchored only where they say so.
type Regexes struct {
	Fold bool // ASCII case does not matter; set before Add
	list []*regexp.Regexp
}

// maxRegexes bounds a list whose cost grows with its length.
const maxRegexes = 1000

// Add compiles an expression.
func (r *Regexes) Add(entry []byte) error {
	if len(r.list) == maxRegexes {
		return fmt.Errorf("more than %d regular expressions", maxRegexes)
	}
	text := string(entry)
	if r.Fold {
		text = "(?i:" + text + ")"
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return fmt.Errorf("not a regular expression: %v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if re.MatchString("") && re.MatchString("\x01") { // "^$" is a rule, "a*" is a mistake
		return fmt.Errorf("regular expression %q matches everything", entry)
	}
	r.list = append(r.list, re)
	return nil
}

// Finish makes the matcher ready.
func (r *Regexes) Finish() {}

// Len returns the number of entries.
func (r *Regexes) Len() int { return len(r.list) }

// Match tries text.
func (r *Regexes) Match(text string) (string, bool) {
	for _, re := range r.list {
		if re.MatchString(text) {
			return re.String(), true
		}
	}
	return "", false
}
