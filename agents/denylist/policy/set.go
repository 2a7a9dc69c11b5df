package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
	"github.com/sentinel-stack/sentinel/agents/denylist/match"
	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// set is one rule set: what it exempts, what it matches and what it then does.
type set struct {
	name    string // "" for the rules outside of rule-sets
	logOnly bool
	status  int
	headers protocol.Headers
	body    []byte
	tags    []string

	allowIPs   *list[*match.Networks]
	allowPaths *list[*match.Below]

	ips         *list[*match.Networks]
	countries   *list[*match.Words]
	methods     *list[*match.Words]
	hosts       *list[*match.Hosts]
	paths       *list[*match.Below]
	pathExact   *list[*match.Exact]
	pathPrefix  *list[*match.Prefixes]
	pathRegex   *list[*match.Regexes]
	agents      *list[*match.Substrings]
	agentsRegex *list[*match.Regexes]
	headerRules *list[*match.Fields]
	queryRules  *list[*match.Fields]
}

// builder makes the lists of one set and collects every error.
type builder struct {
	at       string // prefix of keys: "" or "rule-sets.name."
	limits   lists.Limits
	feeds    map[string]*planned
	sources  []source
	problems []error
}

// newList makes the list of one key; nil when the key, its -file and its -feed are not given.
func newList[M matcher](b *builder, key string, inline, files agent.Texts, fresh func() M, feeds ...agent.Texts) *list[M] {
	key = b.at + key
	entries, err := inline.List(key)
	if err != nil {
		b.problems = append(b.problems, err)
	}
	paths, err := files.List(key + "-file")
	if err != nil {
		b.problems = append(b.problems, err)
	}
	var fed []*planned
	for _, names := range feeds {
		fed = append(fed, b.planned(key+"-feed", names)...)
	}
	if len(entries) == 0 && len(paths) == 0 && len(fed) == 0 {
		return nil
	}
	l := &list[M]{key: key, inline: entries, fresh: fresh}
	for _, path := range paths {
		l.files = append(l.files, lists.New(path, b.limits))
	}
	for _, f := range fed {
		f.checks = append(f.checks, func(entry string) error { return fresh().Add([]byte(entry)) })
		l.files = append(l.files, lists.NewOptional(f.config.Path(), b.limits))
	}
	if err := l.load(); err != nil {
		b.problems = append(b.problems, err)
		return nil
	}
	b.sources = append(b.sources, l)
	return l
}

// build makes the set called name.
func (b *builder) build(name string, c *setConfig, foldPaths bool) *set {
	b.problems = append(b.problems, c.check(b.at))
	s := &set{name: name, logOnly: strings.HasPrefix(c.Action, "log"), status: c.Status, body: []byte(c.Body)}
	if s.status == 0 {
		s.status = defaultStatus
	}
	if c.Body == "" {
		s.body = []byte(defaultBody)
	}
	contentType := c.ContentType
	if contentType == "" {
		contentType = defaultContentType
	}
	// A refusal holds for this client now; nobody may keep it for another one.
	s.headers = protocol.Headers{{Name: "content-type", Value: contentType}, {Name: "cache-control", Value: "no-store"}}
	tags, err := c.Tags.List(b.at + "tags")
	if err != nil {
		b.problems = append(b.problems, err)
	}
	s.tags = append([]string{"denylist"}, tags...)

	networks := func() *match.Networks { return &match.Networks{} }
	below := func() *match.Below { return &match.Below{Exact: match.Exact{Fold: foldPaths}} }
	regexes := func() *match.Regexes { return &match.Regexes{} }
	pathRegexes := func() *match.Regexes { return &match.Regexes{Fold: foldPaths} }
	s.allowIPs = newList(b, "allow-ips", c.AllowIPs, c.AllowIPsFile, networks, c.AllowIPsFeed)
	s.allowPaths = newList(b, "allow-paths", c.AllowPaths, c.AllowPathsFile, below)
	s.ips = newList(b, "block-ips", c.BlockIPs, c.BlockIPsFile, networks, c.BlockIPsFeed)
	s.countries = newList(b, "block-countries", c.BlockCountries, c.BlockCountriesFile, words(checkCountry))
	s.methods = newList(b, "block-methods", c.BlockMethods, c.BlockMethodsFile, words(checkMethod))
	s.hosts = newList(b, "block-hosts", c.BlockHosts, c.BlockHostsFile, func() *match.Hosts { return &match.Hosts{} }, c.BlockHostsFeed)
	s.paths = newList(b, "block-paths", c.BlockPaths, c.BlockPathsFile, below, c.BlockPathsFeed)
	s.pathExact = newList(b, "block-paths-exact", c.BlockPathsExact, c.BlockPathsExactFile, func() *match.Exact { return &match.Exact{Fold: foldPaths} })
	s.pathPrefix = newList(b, "block-paths-prefix", c.BlockPathsPrefix, c.BlockPathsPrefixFile, func() *match.Prefixes { return &match.Prefixes{Fold: foldPaths} })
	s.pathRegex = newList(b, "block-paths-regex", c.BlockPathsRegex, c.BlockPathsRegexFile, pathRegexes)
	s.agents = newList(b, "block-user-agents", c.BlockUserAgents, c.BlockUserAgentsFile, func() *match.Substrings { return &match.Substrings{} }, c.BlockUserAgentsFeed)
	s.agentsRegex = newList(b, "block-user-agents-regex", c.BlockUserAgentsRegex, c.BlockUserAgentsRegexFile, regexes)
	s.headerRules = newList(b, "block-headers", c.BlockHeaders, c.BlockHeadersFile, func() *match.Fields { return &match.Fields{FoldNames: true} })
	s.queryRules = newList(b, "block-query", c.BlockQuery, c.BlockQueryFile, func() *match.Fields { return &match.Fields{} })
	return s
}

func words(check func(string) error) func() *match.Words {
	return func() *match.Words { return &match.Words{Check: check} }
}

func checkCountry(code string) error {
	if len(code) != 2 || !isLetter(code[0]) || !isLetter(code[1]) {
		return fmt.Errorf("not a country code: %q (two letters, ISO 3166)", code)
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func checkMethod(method string) error {
	if method == "" || strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
		return fmt.Errorf("not a method: %q", method)
	}
	return nil
}

// needsAddress reports whether the set cannot decide without the client's address.
func (s *set) needsAddress() bool {
	return s.allowIPs != nil || s.ips != nil || s.countries != nil
}

// exempts reports whether an allow rule takes the request out of the set.
func (s *set) exempts(f *facts) bool {
	if m, ok := s.allowIPs.get(); ok {
		if _, found := m.Match(f.client); found {
			return true
		}
	}
	if m, ok := s.allowPaths.get(); ok {
		return f.paths.All(m.Match)
	}
	return false
}

// first returns the first rule that the request matches, as "key:entry".
func (s *set) first(f *facts) (rule string, kind Kind, found bool) {
	if m, ok := s.ips.get(); ok {
		if network, found := m.Match(f.client); found {
			return ruleID(s.ips.key, networkText(network)), IP, true
		}
	}
	if m, ok := s.countries.get(); ok {
		if entry, found := m.Match(f.country()); found {
			return ruleID(s.countries.key, entry), Country, true
		}
	}
	if m, ok := s.methods.get(); ok {
		if entry, found := m.Match(f.request.Method); found {
			return ruleID(s.methods.key, entry), Method, true
		}
	}
	if m, ok := s.hosts.get(); ok {
		if entry, found := anyValue(f.request.Headers, "host", m.Match); found {
			return ruleID(s.hosts.key, entry), Host, true
		}
	}
	if rule, found := s.firstPath(f); found {
		return rule, Path, true
	}
	return s.firstField(f)
}

func (s *set) firstPath(f *facts) (rule string, found bool) {
	if m, ok := s.pathExact.get(); ok {
		if entry, found := f.paths.Any(m.Match); found {
			return ruleID(s.pathExact.key, entry), true
		}
	}
	if m, ok := s.paths.get(); ok {
		if entry, found := f.paths.Any(m.Match); found {
			return ruleID(s.paths.key, entry), true
		}
	}
	if m, ok := s.pathPrefix.get(); ok {
		if entry, found := f.paths.Any(m.Match); found {
			return ruleID(s.pathPrefix.key, entry), true
		}
	}
	if m, ok := s.pathRegex.get(); ok {
		if entry, found := f.paths.Any(m.Match); found {
			return ruleID(s.pathRegex.key, entry), true
		}
	}
	return "", false
}

func (s *set) firstField(f *facts) (rule string, kind Kind, found bool) {
	if m, ok := s.agents.get(); ok {
		if entry, found := anyValue(f.request.Headers, "user-agent", m.Match); found {
			return ruleID(s.agents.key, entry), UserAgent, true
		}
	}
	if m, ok := s.agentsRegex.get(); ok {
		if entry, found := anyValue(f.request.Headers, "user-agent", m.Match); found {
			return ruleID(s.agentsRegex.key, entry), UserAgent, true
		}
	}
	if m, ok := s.headerRules.get(); ok {
		for _, h := range f.request.Headers {
			if entry, found := m.Match(h.Name, h.Value); found {
				return ruleID(s.headerRules.key, entry), HeaderField, true
			}
		}
	}
	if m, ok := s.queryRules.get(); ok {
		if entry, found := m.MatchQuery(f.request.Query()); found {
			return ruleID(s.queryRules.key, entry), Query, true
		}
	}
	return "", 0, false
}

// anyValue tries every value of a field; a field that is not there has the value "".
func anyValue(headers protocol.Headers, name string, match func(string) (string, bool)) (entry string, found bool) {
	seen := false
	for i := range headers {
		if headers[i].Name == name {
			seen = true
			if entry, found = match(headers[i].Value); found {
				return entry, true
			}
		}
	}
	if seen {
		return "", false
	}
	return match("")
}

// maxRuleID keeps a long expression from filling the audit log.
const maxRuleID = 200

func ruleID(key, entry string) string {
	id := key + ":" + entry
	if len(id) > maxRuleID {
		id = strings.ToValidUTF8(id[:maxRuleID], "") + "…"
	}
	return id
}

// networkText writes a single address without its length.
func networkText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (b *builder) err() error { return errors.Join(b.problems...) }
