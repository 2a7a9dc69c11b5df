package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// config is the agent's configuration as it is written. The README beside the agent explains every key.
type config struct {
	setConfig                      // rules outside of any rule set
	RuleSets  map[string]setConfig `json:"rule-sets"`

	Feeds         map[string]feedConfig `json:"feeds"`
	FeedDirectory string                `json:"feed-directory"`
	Bans          *bansConfig           `json:"bans"`

	CountryDatabase string `json:"country-database"`
	IgnorePathCase  bool   `json:"ignore-path-case"`
	MaxListBytes    int64  `json:"max-list-bytes"`
	MaxLineBytes    int    `json:"max-line-bytes"`
}

// setConfig is one rule set.
type setConfig struct {
	Action      string      `json:"action"`
	Status      int         `json:"status"`
	Body        string      `json:"body"`
	ContentType string      `json:"content-type"`
	Tags        agent.Texts `json:"tags"`

	AllowIPs       agent.Texts `json:"allow-ips"`
	AllowIPsFile   agent.Texts `json:"allow-ips-file"`
	AllowIPsFeed   agent.Texts `json:"allow-ips-feed"`
	AllowPaths     agent.Texts `json:"allow-paths"`
	AllowPathsFile agent.Texts `json:"allow-paths-file"`

	BlockIPs                 agent.Texts `json:"block-ips"`
	BlockIPsFile             agent.Texts `json:"block-ips-file"`
	BlockIPsFeed             agent.Texts `json:"block-ips-feed"`
	BlockCountries           agent.Texts `json:"block-countries"`
	BlockCountriesFile       agent.Texts `json:"block-countries-file"`
	BlockMethods             agent.Texts `json:"block-methods"`
	BlockMethodsFile         agent.Texts `json:"block-methods-file"`
	BlockHosts               agent.Texts `json:"block-hosts"`
	BlockHostsFile           agent.Texts `json:"block-hosts-file"`
	BlockHostsFeed           agent.Texts `json:"block-hosts-feed"`
	BlockPaths               agent.Texts `json:"block-paths"`
	BlockPathsFile           agent.Texts `json:"block-paths-file"`
	BlockPathsFeed           agent.Texts `json:"block-paths-feed"`
	BlockPathsExact          agent.Texts `json:"block-paths-exact"`
	BlockPathsExactFile      agent.Texts `json:"block-paths-exact-file"`
	BlockPathsPrefix         agent.Texts `json:"block-paths-prefix"`
	BlockPathsPrefixFile     agent.Texts `json:"block-paths-prefix-file"`
	BlockPathsRegex          agent.Texts `json:"block-paths-regex"`
	BlockPathsRegexFile      agent.Texts `json:"block-paths-regex-file"`
	BlockUserAgents          agent.Texts `json:"block-user-agents"`
	BlockUserAgentsFile      agent.Texts `json:"block-user-agents-file"`
	BlockUserAgentsFeed      agent.Texts `json:"block-user-agents-feed"`
	BlockUserAgentsRegex     agent.Texts `json:"block-user-agents-regex"`
	BlockUserAgentsRegexFile agent.Texts `json:"block-user-agents-regex-file"`
	BlockHeaders             agent.Texts `json:"block-headers"`
	BlockHeadersFile         agent.Texts `json:"block-headers-file"`
	BlockQuery               agent.Texts `json:"block-query"`
	BlockQueryFile           agent.Texts `json:"block-query-file"`
}

// Defaults of the keys that have one.
const (
	defaultStatus      = 403
	defaultBody        = "Forbidden\n"
	defaultContentType = "text/plain; charset=utf-8"
)

// decode reads the configuration text strictly.
func decode(text json.RawMessage) (config, error) {
	c := config{MaxListBytes: lists.DefaultLimits.FileBytes, MaxLineBytes: lists.DefaultLimits.LineBytes}
	err := agent.DecodeConfig(text, &c)
	return c, err
}

// check collects what is wrong with the scalar keys of one set.
func (s *setConfig) check(at string) error {
	var problems []error
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s%s: %s", at, key, fmt.Sprintf(format, args...)))
	}
	switch s.Action {
	case "", "block", "log", "log-only":
	default:
		bad("action", "unknown action %q, want block or log", s.Action)
	}
	if s.Status != 0 && (s.Status < 400 || s.Status > 599) {
		bad("status", "%d is not an error status (400 to 599)", s.Status)
	}
	if i := strings.IndexFunc(s.ContentType, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		bad("content-type", "holds a character that a header field cannot: %q", s.ContentType)
	}
	return errors.Join(problems...)
}
