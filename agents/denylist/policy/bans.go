package policy

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/sentinel-stack/sentinel/agents/denylist/bans"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// bansConfig is the block bans.
type bansConfig struct {
	File        string                   `json:"file"`
	Socket      string                   `json:"socket"`
	DefaultSecs float64                  `json:"default-secs"`
	MaxSecs     float64                  `json:"max-secs"`
	MaxEntries  int                      `json:"max-entries"`
	Triggers    map[string]triggerConfig `json:"triggers"`
}

type triggerConfig struct {
	AuditFile  string      `json:"audit-file"`
	Tags       agent.Texts `json:"tags"`
	Rules      agent.Texts `json:"rules"`
	Reasons    agent.Texts `json:"reasons"`
	Count      int         `json:"count"`
	WithinSecs float64     `json:"within-secs"`
	BanSecs    float64     `json:"ban-secs"`
}

// Defaults and bounds of bans.
const (
	defaultBan     = 600
	defaultMaxBan  = 30 * 86400
	longestBan     = 10 * 366 * 86400
	defaultBans    = 100_000
	mostBans       = 1_000_000
	defaultCount   = 5
	mostCount      = 1000
	defaultWithin  = 60
	longestWithin  = 86400
	maxTriggers    = 32
	maxSocketBytes = 107 // sockaddr_un(7)
)

// plan checks the block and fills in the defaults.
func (c *bansConfig) plan() (*bans.Config, error) {
	var problems []error
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("bans.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	within := func(key string, v, hi float64) {
		if !(v > 0 && v <= hi) {
			bad(key, "%v is not more than 0 and at most %v", v, hi)
		}
	}
	if c.Socket == "" && len(c.Triggers) == 0 && c.File == "" {
		problems = append(problems, errors.New("bans: without socket, triggers and file nobody can ban anybody"))
	}
	if c.Socket != "" && (!filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocketBytes) {
		bad("socket", "%q is not an absolute path of at most %d bytes", c.Socket, maxSocketBytes)
	}
	if c.File != "" && !filepath.IsAbs(c.File) {
		bad("file", "%q is not an absolute path", c.File)
	}
	if len(c.Triggers) > maxTriggers {
		bad("triggers", "there are %d, at most %d are possible", len(c.Triggers), maxTriggers)
	}
	def, most, entries := or(c.DefaultSecs, defaultBan), or(c.MaxSecs, defaultMaxBan), or(c.MaxEntries, defaultBans)
	within("max-secs", most, longestBan)
	within("default-secs", def, most)
	within("max-entries", float64(entries), mostBans)
	out := &bans.Config{File: c.File, Socket: c.Socket, Default: seconds(def, 0), Max: seconds(most, 0), Entries: entries}
	for _, name := range slices.Sorted(maps.Keys(c.Triggers)) {
		t := c.Triggers[name]
		trigger, err := t.plan(name, def, most)
		if err != nil {
			problems = append(problems, err)
		}
		out.Triggers = append(out.Triggers, trigger)
	}
	return out, errors.Join(problems...)
}

func (c *triggerConfig) plan(name string, def, most float64) (t bans.Trigger, err error) {
	at := "bans.triggers." + name + "."
	var problems []error
	texts := func(key string, list agent.Texts) []string {
		out, err := list.ListOfAny(at + key)
		if err != nil {
			problems = append(problems, err)
		}
		return out
	}
	within := func(key string, v, lo, hi float64) {
		if !(v >= lo && v <= hi) {
			problems = append(problems, fmt.Errorf("%s%s: %v is not between %v and %v", at, key, v, lo, hi))
		}
	}
	t = bans.Trigger{Name: name, File: c.AuditFile, Tags: texts("tags", c.Tags), Rules: texts("rules", c.Rules), Reasons: texts("reasons", c.Reasons), Count: or(c.Count, defaultCount)}
	if !filepath.IsAbs(c.AuditFile) {
		problems = append(problems, fmt.Errorf("%saudit-file: name the proxy's audit log by its absolute path", at))
	}
	if len(t.Tags)+len(t.Rules)+len(t.Reasons) == 0 {
		problems = append(problems, fmt.Errorf("%stags: name tags, rules or reasons; a trigger that counts everything bans everybody", at))
	}
	window, length := or(c.WithinSecs, defaultWithin), or(c.BanSecs, def)
	within("count", float64(t.Count), 1, mostCount)
	within("within-secs", window, 1, longestWithin)
	within("ban-secs", length, 1, most)
	t.Within, t.Length = seconds(window, 0), seconds(length, 0)
	return t, errors.Join(problems...)
}
