package ruleset

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// Config is the agent's configuration as it is written. The README beside the agent explains every key.
type Config struct {
	Mode                 string               `json:"mode"`
	ParanoiaLevel        int                  `json:"paranoia-level"`
	InboundThreshold     int                  `json:"inbound-anomaly-threshold"`
	OutboundThreshold    int                  `json:"outbound-anomaly-threshold"`
	AllowedMethods       agent.Texts          `json:"allowed-methods"`
	RulesDirectory       string               `json:"rules-directory"`
	RulesVersion         string               `json:"rules-version"`
	CustomRulesDirectory string               `json:"custom-rules-directory"`
	Exclusions           map[string]exclusion `json:"exclusions"`

	RequestBodyLimit  int    `json:"request-body-limit-bytes"`
	ResponseBodyLimit int    `json:"response-body-limit-bytes"`
	OverLimit         string `json:"request-body-over-limit"`
	InspectResponses  bool   `json:"inspect-responses"`

	FastPath bool `json:"fast-path"`

	Status int    `json:"status"`
	Body   string `json:"body"`

	AuditLog         string      `json:"audit-log"`
	AuditMatchedData bool        `json:"audit-matched-data"`
	Redact           agent.Texts `json:"redact"`
	MaxTransactions  int         `json:"max-transactions"`
}

// exclusion takes rules, or parameters from the sight of rules, out of force; everywhere, or below some paths and on some hosts.
type exclusion struct {
	Rules      agent.Texts `json:"rules"`
	Tags       agent.Texts `json:"tags"`
	Parameters agent.Texts `json:"parameters"`
	Paths      agent.Texts `json:"paths"`
	Hosts      agent.Texts `json:"hosts"`
}

// Modes.
const (
	Prevention = "prevention"
	Detection  = "detection"
)

// maxBody bounds both limits of bodies: what is inspected is held in memory.
const maxBody = 64 << 20

func decode(text json.RawMessage) (Config, error) {
	c := Config{Mode: Prevention, ParanoiaLevel: 1, InboundThreshold: 5, OutboundThreshold: 4, RequestBodyLimit: 1 << 20, ResponseBodyLimit: 512 << 10,
		OverLimit: "reject", Status: 403, Body: "Forbidden\n", AuditMatchedData: true, FastPath: true, MaxTransactions: 4096}
	if err := agent.DecodeConfig(text, &c); err != nil {
		return c, err
	}
	return c, c.check()
}

// check returns everything that is wrong with the scalar keys.
func (c *Config) check() error {
	var problems []error
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	within := func(key string, n, low, high int) {
		if n < low || n > high {
			bad(key, "%d is not between %d and %d", n, low, high)
		}
	}
	if c.Mode != Prevention && c.Mode != Detection {
		bad("mode", "unknown mode %q, want %s or %s", c.Mode, Prevention, Detection)
	}
	if c.OverLimit != "reject" && c.OverLimit != "partial" {
		bad("request-body-over-limit", "unknown action %q, want reject or partial", c.OverLimit)
	}
	within("paranoia-level", c.ParanoiaLevel, 1, 4)
	within("inbound-anomaly-threshold", c.InboundThreshold, 1, 10_000)
	within("outbound-anomaly-threshold", c.OutboundThreshold, 1, 10_000)
	within("request-body-limit-bytes", c.RequestBodyLimit, 1, maxBody)
	within("response-body-limit-bytes", c.ResponseBodyLimit, 1, maxBody)
	within("status", c.Status, 400, 599)
	within("max-transactions", c.MaxTransactions, 1, 1_000_000)
	return errors.Join(problems...)
}

// textsOf decodes the texts of key, numbers being texts as well, and holds each against valid.
func textsOf(v agent.Texts, key string, valid func(string) error) ([]string, error) {
	out, err := v.ListOfAny(key)
	for _, text := range out {
		if bad := valid(text); bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %v", key, bad))
		}
	}
	return out, err
}

// plain refuses what could end a quoted text of the rule language or be expanded in it.
func plain(text string) error {
	if text == "" {
		return errors.New("wants a text that is not empty")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\,;|`, r) }) || strings.Contains(text, "%{") {
		return fmt.Errorf("%q holds a character that is not allowed here: blank, quote, backslash, comma, semicolon, bar or %%{", text)
	}
	return nil
}
