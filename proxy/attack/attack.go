// Package attack reads the attack files in proxy/testdata/attack, which its tests run against a real proxy on real
// sockets. A file holds cases; a case shows one or more attacks, and as twin the innocent message next to them that must
// work, so that refusing everything does not pass.
//
//	# a comment
//	case content-length twice
//	attack
//	    POST / HTTP/1.1\r\n
//	    Host: test\r\n
//	    Content-Length: 5\r\n
//	    Content-Length: 5\r\n
//	    \r\n
//	    hello
//	expect 400 closed
//	twin
//	    ...
//	expect 200 open
//	sees POST / "hello"
//
// Indented lines are what is sent, joined without anything between them; \r \n \t \0 \\ \xNN and {text*count} are
// replaced. After them come:
//
//	expect STATUS... STATE   the final statuses the client gets, and what becomes of the connection (see below)
//	method METHOD            of the request that is answered; default GET, and in files of requests taken from there
//	sees METHOD TARGET "BODY"  one line for each request the backend gets, in order; "BODY" only when there is one
//	has NAME: VALUE          a field of the last request the backend gets
//	lacks NAME               a field that no request has
//	body "TEXT"              the body of the last answer
//	then close               the sender closes its side after sending
//
// In files of requests (request-*.txt) the lines go from the client to the proxy and STATE is "open", "closed", or
// "refused", which is closed after a 4xx answer or none, where the client left too early to care which. In files
// of answers (answer-*.txt) they go from the upstream to the proxy in answer to a plain GET; STATE is "fresh" when the
// next request must come on another upstream connection, "reused" when it must come on the same one, and "broken" when the
// client may get 502 or an answer that ends early, depending on how much was relayed by then, which implies "fresh".
package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Case is one rule.
type Case struct {
	Name  string
	Turns []Turn
}

// Turn is one attack or twin.
type Turn struct {
	Line   string // file:line, for messages
	Twin   bool
	Raw    string
	Close  bool
	Method string
	Status []int
	State  string
	Sees   []string
	Has    []string
	Lacks  []string
	Body   *string
}

// Load reads all files that match pattern. A pattern that matches nothing, and a case without attack or twin, is an error.
func Load(pattern string) ([]Case, error) {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("cannot find attack files %s: %v", pattern, err)
	}
	var all []Case
	for _, name := range names {
		cases, err := loadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, cases...)
	}
	return all, nil
}

func loadFile(name string) ([]Case, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var cases []Case
	for i, line := range strings.Split(string(text), "\n") {
		if err := addLine(&cases, fmt.Sprintf("%s:%d", filepath.Base(name), i+1), line); err != nil {
			return nil, fmt.Errorf("%s:%d: cannot read %q: %v", name, i+1, line, err)
		}
	}
	for _, c := range cases {
		twins := 0
		for _, turn := range c.Turns {
			if turn.Twin {
				twins++
			}
			if len(turn.Status) == 0 && turn.State != "refused" {
				return nil, fmt.Errorf("%s: case %q expects nothing", turn.Line, c.Name)
			}
		}
		if twins == 0 || twins == len(c.Turns) {
			return nil, fmt.Errorf("%s: case %q needs an attack and a twin", name, c.Name)
		}
	}
	return cases, nil
}

func addLine(cases *[]Case, where, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		return nil
	case word == "case":
		*cases = append(*cases, Case{Name: rest})
		return nil
	case len(*cases) == 0:
		return fmt.Errorf("outside a case")
	}
	c := &(*cases)[len(*cases)-1]
	if line == "attack" || line == "twin" {
		c.Turns = append(c.Turns, Turn{Line: where, Twin: line == "twin", Method: "GET"})
		return nil
	}
	if len(c.Turns) == 0 {
		return fmt.Errorf("neither in an attack nor in a twin")
	}
	return c.Turns[len(c.Turns)-1].addLine(line, word, rest)
}

func (t *Turn) addLine(line, word, rest string) (err error) {
	if raw, found := strings.CutPrefix(line, "    "); found {
		raw, err = unescape(raw)
		t.Raw += raw
		return err
	}
	switch word {
	case "expect":
		words := strings.Fields(rest)
		if len(words) == 0 {
			return fmt.Errorf("nothing expected")
		}
		t.State = words[len(words)-1]
		for _, w := range words[:len(words)-1] {
			status, err := strconv.Atoi(w)
			if err != nil {
				return err
			}
			t.Status = append(t.Status, status)
		}
	case "method":
		t.Method = rest
	case "sees":
		t.Sees = append(t.Sees, rest)
	case "has":
		t.Has = append(t.Has, rest)
	case "lacks":
		t.Lacks = append(t.Lacks, rest)
	case "body":
		body, err := strconv.Unquote(rest)
		t.Body = &body
		return err
	case "then":
		t.Close = rest == "close"
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

// unescape replaces escapes and {text*count}.
func unescape(s string) (string, error) {
	var b strings.Builder
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, `\x`) && len(s) >= 4:
			n, err := strconv.ParseUint(s[2:4], 16, 8)
			if err != nil {
				return "", err
			}
			b.WriteByte(byte(n))
			s = s[4:]
		case s[0] == '\\' && len(s) >= 2:
			i := strings.IndexByte(`rnt0\`, s[1])
			if i < 0 {
				return "", fmt.Errorf("unknown escape %q", s[:2])
			}
			b.WriteByte("\r\n\t\x00\\"[i])
			s = s[2:]
		case s[0] == '{' && strings.ContainsRune(s, '}'):
			macro, rest, _ := strings.Cut(s[1:], "}")
			star := strings.LastIndexByte(macro, '*')
			if star < 0 {
				b.WriteByte('{')
				s = s[1:]
				continue
			}
			count, err := strconv.Atoi(macro[star+1:])
			if err != nil {
				return "", err
			}
			text, err := unescape(macro[:star])
			if err != nil {
				return "", err
			}
			b.WriteString(strings.Repeat(text, count))
			s = rest
		default:
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String(), nil
}
