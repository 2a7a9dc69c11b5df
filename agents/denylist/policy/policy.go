// Package policy is the brain of the denylist agent: configuration text in, verdicts out.
//
// A Policy is a list of rule sets. Each set says whom it exempts, what it matches and what it then does, block or log. The rules outside of any named set
// form the first set, and what that one exempts is exempt from all. The lists of a policy follow their files (see Poll) without a new policy.
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/bans"
	"github.com/sentinel-stack/sentinel/agents/denylist/country"
	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
	"github.com/sentinel-stack/sentinel/agents/denylist/match"
	"github.com/sentinel-stack/sentinel/protocol"
)

// Policy judges requests. Judge may be called from any number of goroutines, together with one that calls Poll.
type Policy struct {
	sets      []*set
	sources   []source
	countries *country.Database // nil when no set asks for countries
	foldPaths bool
	addresses bool // some set needs the client's address
	counters  *Counters
	banned    func(netip.Addr) (bans.Ban, bool) // nil = nobody is

	Feeds []Feed       // to be run by whoever uses the policy
	Bans  *bans.Config // nil = there are none
}

// New compiles the configuration text (see the agent's README) or returns every error in it, each with its key. Lists are read from their files before New returns.
func New(text json.RawMessage, counters *Counters) (*Policy, error) {
	c, err := decode(text)
	if err != nil {
		return nil, err
	}
	b := builder{limits: lists.Limits{FileBytes: c.MaxListBytes, LineBytes: c.MaxLineBytes}}
	if c.MaxListBytes < 1 {
		b.problems = append(b.problems, fmt.Errorf("max-list-bytes: %d is not a positive size", c.MaxListBytes))
	}
	if c.MaxLineBytes < 1 || c.MaxLineBytes > 1<<20 {
		b.problems = append(b.problems, fmt.Errorf("max-line-bytes: %d is not between 1 and %d", c.MaxLineBytes, 1<<20))
		b.limits.LineBytes = lists.DefaultLimits.LineBytes
	}
	p := &Policy{foldPaths: c.IgnorePathCase, counters: counters}
	b.planFeeds(&c)
	p.sets = append(p.sets, b.build("", &c.setConfig, c.IgnorePathCase))
	for _, name := range slices.Sorted(maps.Keys(c.RuleSets)) {
		set := c.RuleSets[name]
		if name == "" {
			b.problems = append(b.problems, errors.New("rule-sets: a rule set wants a name"))
		}
		b.at = "rule-sets." + name + "."
		p.sets = append(p.sets, b.build(name, &set, c.IgnorePathCase))
	}
	if err := p.openCountries(c.CountryDatabase); err != nil {
		b.problems = append(b.problems, err)
	}
	p.sources, p.Feeds = b.sources, b.openFeeds()
	if c.Bans != nil {
		if p.Bans, err = c.Bans.plan(); err != nil {
			b.problems = append(b.problems, err)
		}
	}
	return p, b.err()
}

// UseBans has a policy refuse whom banned finds. Call it before the first request.
func (p *Policy) UseBans(banned func(netip.Addr) (bans.Ban, bool)) {
	p.banned, p.addresses = banned, true
}

// openCountries opens the database when a set blocks countries, and refuses a rule that could never fire.
func (p *Policy) openCountries(path string) error {
	wanted := slices.ContainsFunc(p.sets, func(s *set) bool { return s.countries != nil })
	for _, s := range p.sets {
		p.addresses = p.addresses || s.needsAddress()
	}
	if path == "" {
		if !wanted {
			return nil
		}
		if path = country.Find(); path == "" {
			return fmt.Errorf("block-countries: no country database found; name one with country-database (looked for %v)", country.DefaultPaths())
		}
	}
	db, err := country.Open(path)
	if err != nil {
		return fmt.Errorf("country-database: %v", err)
	}
	if wanted {
		p.countries = db
	}
	return nil
}

// facts is what the rules look at, computed once for all sets.
type facts struct {
	request   *protocol.RequestHeaders
	client    netip.Addr
	paths     match.Spellings
	countries *country.Database
	code      string // country of client once asked for
	asked     bool
}

func (f *facts) country() string {
	if !f.asked {
		f.code, f.asked = f.countries.Lookup(f.client), true
	}
	return f.code
}

var errNoAddress = errors.New("cannot read client address")

// Judge answers one request: a block of the first set that matches and blocks, otherwise an allow that names what the logging sets matched.
func (p *Policy) Judge(r *protocol.RequestHeaders) (protocol.Verdict, error) {
	p.counters.Lookups.Add(1)
	f := facts{request: r, countries: p.countries}
	if p.addresses {
		addr, err := netip.ParseAddr(r.Metadata.ClientIP)
		if err != nil {
			p.counters.Undecided.Add(1)
			return protocol.Verdict{}, errNoAddress
		}
		f.client = addr
	}
	f.paths = match.NewSpellings(r.URI, p.foldPaths)
	verdict := protocol.Allow()
	for i, s := range p.sets {
		if s.exempts(&f) {
			p.counters.Exempted.Add(1)
			if i == 0 {
				break // what the first set exempts is exempt from all
			}
			continue
		}
		if i == 0 && p.banned != nil {
			if ban, found := p.banned(f.client); found {
				p.counters.Blocked[Banned].Add(1)
				return s.block(verdict, ruleID("bans", networkText(ban.Network)), Banned).WithTags(bans.Tag).WithCustom("ban", ban.Reason), nil
			}
		}
		rule, kind, found := s.first(&f)
		if !found {
			continue
		}
		if !s.logOnly {
			p.counters.Blocked[kind].Add(1)
			return s.block(verdict, rule, kind), nil
		}
		p.counters.Logged[kind].Add(1)
		verdict = verdict.WithTags(s.tags...).WithTags("log-only").WithRules(rule).WithReasons(kind.reason())
	}
	return verdict, nil
}

// block turns what was noted so far into a refusal.
func (s *set) block(noted protocol.Verdict, rule string, kind Kind) protocol.Verdict {
	v := protocol.Block(s.status, s.headers, s.body)
	v.Audit = noted.Audit
	v = v.WithTags(s.tags...).WithRules(rule).WithReasons(kind.reason())
	if s.name != "" {
		v = v.WithCustom("rule-set", s.name)
	}
	return v
}

// Reload reads every list again, as before the first request when files have appeared meanwhile.
func (p *Policy) Reload() error {
	for _, s := range p.sources {
		if err := s.load(); err != nil {
			return err
		}
	}
	return nil
}

// Poll looks at every file and takes what has changed. A list whose new content has errors stays as it is. Call it about once a second, from one goroutine.
func (p *Policy) Poll(now time.Time, log *slog.Logger) {
	for _, s := range p.sources {
		changed, err := s.changed(now)
		if err == nil && changed {
			if err = s.load(); err == nil {
				p.counters.Reloads.Add(1)
				log.Info("list reloaded", "list", s.name(), "entries", s.size())
			}
		}
		p.failed(err, s.name(), log)
	}
	if p.countries != nil {
		reloaded, err := p.countries.Poll(now)
		if reloaded {
			p.counters.Reloads.Add(1)
			log.Info("country database reloaded")
		}
		p.failed(err, "country-database", log)
	}
}

func (p *Policy) failed(err error, list string, log *slog.Logger) {
	if err != nil {
		p.counters.ReloadErrors.Add(1)
		log.Error("cannot reload list, the last good one stays", "list", list, "error", err)
	}
}

// Sizes calls f with the name and the number of entries of every list.
func (p *Policy) Sizes(f func(list string, entries int)) {
	for _, s := range p.sources {
		f(s.name(), s.size())
	}
}
