package ruleset

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"
	ftw "github.com/coreruleset/go-ftw/test"

	"github.com/sentinel-stack/sentinel/protocol"
)

// sample is a request, as the agent gets it.
type sample struct {
	head protocol.RequestHeaders
	body []byte
}

func (s *sample) String() string {
	return fmt.Sprintf("%s %q %q %q", s.head.Method, s.head.URI, s.head.Headers, s.body)
}

func (s *sample) header(name, value string) {
	s.head.Headers = append(s.head.Headers, protocol.Header{Name: strings.ToLower(name), Value: value})
}

// attacks are the requests of the Core Rule Set's own regression tests: attacks, and what is easily taken for one.
var attacks = sync.OnceValues(func() (out []sample, err error) {
	err = fs.WalkDir(tests.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(tests.FS, path)
		if err != nil {
			return err
		}
		file, err := ftw.GetTestFromYaml(text, path)
		if err != nil {
			return err
		}
		for _, one := range file.Tests {
			for _, stage := range one.Stages {
				in := ftw.Input(stage.Input)
				s := sample{head: protocol.RequestHeaders{Method: in.GetMethod(), URI: in.GetURI()}}
				s.head.Metadata = protocol.Metadata{Protocol: in.GetVersion(), ClientIP: "198.51.100.7", CorrelationID: "c"}
				for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
					s.header(name, in.Headers[name])
				}
				s.body = in.GetData()
				if in.EncodedRequest != "" {
					s.raw(in.EncodedRequest)
				}
				out = append(out, s)
			}
		}
		return nil
	})
	return out, err
})

// raw takes a request that a test gives byte by byte, as far as it is one.
func (s *sample) raw(encoded string) {
	text, _ := base64.StdEncoding.DecodeString(encoded)
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	words := strings.SplitN(lines[0], " ", 3)
	if len(words) < 3 {
		return
	}
	s.head.Method, s.head.URI, s.head.Metadata.Protocol, s.body = words[0], words[1], words[2], []byte(body)
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		s.header(name, strings.TrimSpace(value))
	}
}

// mutate changes some place of a request: a byte, a piece of another request, an encoding.
func mutate(r *rand.Rand, s, other *sample) sample {
	m := sample{head: s.head, body: s.body}
	m.head.Headers = append(protocol.Headers{}, s.head.Headers...)
	switch n := r.IntN(6); {
	case n < 3 || len(m.head.Headers) == 0:
		m.head.URI = change(r, m.head.URI, other.head.URI)
	case n < 5 && len(m.body) > 0:
		m.body = []byte(change(r, string(m.body), string(other.body)))
	default:
		h := &m.head.Headers[r.IntN(len(m.head.Headers))]
		h.Value = change(r, h.Value, other.head.URI)
	}
	return m
}

func change(r *rand.Rand, s, other string) string {
	at := r.IntN(len(s) + 1)
	cut := at + r.IntN(min(4, len(s)-at)+1)
	piece := string(rune(r.IntN(256)))
	switch r.IntN(8) {
	case 0:
		piece = other
	case 1:
		piece = url.QueryEscape(s[at:cut])
	case 2:
		for i := at; i < cut; i++ {
			piece += fmt.Sprintf("%%%02x", s[i])
		}
	case 3:
		piece = strings.ToUpper(s[at:cut])
	case 4:
		piece = []string{"'", `"`, "<", "%00", "/*", "*/", "\\u0041", "&#60;", "%u0027", ";", "=", "../", "${", "é", "K", "\xff", " ", "||"}[r.IntN(18)]
	case 5:
		piece = string([]byte{byte(r.IntN(256))})
	case 6:
		piece = ""
	}
	return s[:at] + piece + s[cut:]
}

// engine returns what the engine finds in a request, by the rules' ids, and whether it refuses or fails.
func (s *Set) engineFinds(t testing.TB, r *sample) (rules []int, refused bool, err error) {
	t.Helper()
	x, refusal := s.Begin(&r.head)
	defer x.Close()
	if refusal == nil && len(r.body) > 0 {
		refusal, err = x.Write(r.body)
	}
	if refusal == nil && err == nil {
		refusal, err = x.EndRequest()
	}
	for _, m := range x.Matches() {
		rules = append(rules, m.ID)
	}
	return rules, refusal != nil, err
}
