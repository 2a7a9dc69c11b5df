package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// config is the agent's configuration as it is written. The README beside the agent explains every key.
type config struct {
	setConfig                      // rules outside of any rule set
	RuleSets  map[string]setConfig `json:"rule-sets"`

	CountryDatabase string `json:"country-database"`
	IgnorePathCase  bool   `json:"ignore-path-case"`
	MaxListBytes    int64  `json:"max-list-bytes"`
	MaxLineBytes    int    `json:"max-line-bytes"`
}

// setConfig is one rule set.
type setConfig struct {
	Action      string `json:"action"`
	Status      int    `json:"status"`
	Body        string `json:"body"`
	ContentType string `json:"content-type"`
	Tags        values `json:"tags"`

	AllowIPs       values `json:"allow-ips"`
	AllowIPsFile   values `json:"allow-ips-file"`
	AllowPaths     values `json:"allow-paths"`
	AllowPathsFile values `json:"allow-paths-file"`

	BlockIPs                 values `json:"block-ips"`
	BlockIPsFile             values `json:"block-ips-file"`
	BlockCountries           values `json:"block-countries"`
	BlockCountriesFile       values `json:"block-countries-file"`
	BlockMethods             values `json:"block-methods"`
	BlockMethodsFile         values `json:"block-methods-file"`
	BlockHosts               values `json:"block-hosts"`
	BlockHostsFile           values `json:"block-hosts-file"`
	BlockPaths               values `json:"block-paths"`
	BlockPathsFile           values `json:"block-paths-file"`
	BlockPathsExact          values `json:"block-paths-exact"`
	BlockPathsExactFile      values `json:"block-paths-exact-file"`
	BlockPathsPrefix         values `json:"block-paths-prefix"`
	BlockPathsPrefixFile     values `json:"block-paths-prefix-file"`
	BlockPathsRegex          values `json:"block-paths-regex"`
	BlockPathsRegexFile      values `json:"block-paths-regex-file"`
	BlockUserAgents          values `json:"block-user-agents"`
	BlockUserAgentsFile      values `json:"block-user-agents-file"`
	BlockUserAgentsRegex     values `json:"block-user-agents-regex"`
	BlockUserAgentsRegexFile values `json:"block-user-agents-regex-file"`
	BlockHeaders             values `json:"block-headers"`
	BlockHeadersFile         values `json:"block-headers-file"`
	BlockQuery               values `json:"block-query"`
	BlockQueryFile           values `json:"block-query-file"`
}

// values is a key that takes any number of texts: one text, a list, or, where the key was written several times, a list of both. It keeps the JSON text, so that
// an error in it can be told together with the key.
type values struct{ raw json.RawMessage }

// UnmarshalJSON keeps a copy.
func (v *values) UnmarshalJSON(raw []byte) error {
	v.raw = slices.Clone(raw)
	return nil
}

// texts decodes the value of key.
func (v values) texts(key string) ([]string, error) {
	if v.raw == nil {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(v.raw))
	dec.UseNumber()
	var any any
	if err := dec.Decode(&any); err != nil {
		return nil, fmt.Errorf("%s: %v", key, err)
	}
	out, err := appendTexts(nil, any, key, 2)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: wants at least one value", key)
	}
	return out, err
}

// appendTexts appends the texts in v, which may nest lists so many levels deep, and returns the first error.
func appendTexts(out []string, v any, key string, levels int) ([]string, error) {
	wrong := ""
	switch v := v.(type) {
	case string:
		return append(out, v), nil
	case []any:
		if levels == 0 {
			wrong = "list"
			break
		}
		for i, elem := range v {
			var err error
			if out, err = appendTexts(out, elem, fmt.Sprintf("%s[%d]", key, i), levels-1); err != nil {
				return out, err
			}
		}
		return out, nil
	case json.Number:
		wrong = "number " + v.String()
	case bool:
		wrong = "boolean"
	case nil:
		return out, fmt.Errorf("%s: wants at least one value", key)
	default:
		wrong = "object"
	}
	return out, fmt.Errorf("%s: cannot use %s, want text", key, wrong)
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
