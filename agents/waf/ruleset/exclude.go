package ruleset

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// firstID is the first of the rule ids that the generated rules have. Custom rules keep below it.
const firstID = 10_000_000

// everything is the tag that each detection rule of the Core Rule Set has.
const everything = "OWASP_CRS"

// excluded is an exclusion with its texts decoded.
type excluded struct {
	rules, tags, parameters, paths, hosts []string
}

// exclusions turns the exclusions into directives that stand before the rules.
func (c *Config) exclusions() (string, error) {
	var out strings.Builder
	var problems []error
	id := firstID + 100
	for _, name := range slices.Sorted(maps.Keys(c.Exclusions)) {
		e, err := c.Exclusions[name].decode("exclusions." + name + ".")
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if len(e.rules)+len(e.tags)+len(e.parameters) == 0 {
			problems = append(problems, fmt.Errorf("exclusions.%s: wants rules, tags or parameters: as it stands it would switch everything off", name))
			continue
		}
		e.write(&out, id)
		id++
	}
	return out.String(), errors.Join(problems...)
}

func (e exclusion) decode(at string) (out excluded, err error) {
	var problems []error
	list := func(key string, v agent.Texts, valid func(string) error) []string {
		texts, err := textsOf(v, at+key, valid)
		problems = append(problems, err)
		return texts
	}
	out.rules = list("rules", e.Rules, ruleRange)
	out.tags = list("tags", e.Tags, plain)
	out.parameters = list("parameters", e.Parameters, plain)
	out.paths = list("paths", e.Paths, absolute)
	out.hosts = list("hosts", e.Hosts, plain)
	return out, errors.Join(problems...)
}

func absolute(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %q does not begin with /", path)
	}
	return plain(path)
}

// ruleRange accepts 942100 and 942100-942199.
func ruleRange(text string) error {
	low, high, isRange := strings.Cut(text, "-")
	a, err := strconv.Atoi(low)
	b := a
	if err == nil && isRange {
		b, err = strconv.Atoi(high)
	}
	if err != nil || a < 1 || b < a || b >= firstID {
		return fmt.Errorf("%q is no rule id or range of them, such as 942100 or 942100-942199", text)
	}
	return nil
}

// write appends the rule that applies the exclusion while a request is read. A path counts only if it lies there both as it was sent and with its escapes and dots resolved:
// else /excluded/../elsewhere would take the exclusion with it.
func (e excluded) write(out *strings.Builder, id int) {
	var conditions []string
	if len(e.paths) > 0 {
		rx := "^(?:" + alternatives(e.paths) + ")(?:/|$)"
		conditions = append(conditions, fmt.Sprintf(`REQUEST_FILENAME "@rx %s" "t:none`, rx), fmt.Sprintf(`REQUEST_FILENAME "@rx %s" "t:none,t:urlDecodeUni,t:normalizePathWin`, rx))
	}
	if len(e.hosts) > 0 {
		conditions = append(conditions, fmt.Sprintf(`REQUEST_HEADERS:Host "@rx ^(?i:%s)(?::[0-9]+)?$" "t:none`, alternatives(e.hosts)))
	}
	actions := strings.Join(e.controls(), ",")
	if len(conditions) == 0 {
		fmt.Fprintf(out, "SecAction \"id:%d,phase:1,pass,nolog,%s\"\n", id, actions)
		return
	}
	for i, c := range conditions {
		if i == 0 {
			c += fmt.Sprintf(",id:%d,phase:1,pass,nolog", id)
		}
		if i < len(conditions)-1 {
			c += ",chain"
		} else {
			c += "," + actions
		}
		fmt.Fprintf(out, "SecRule %s\"\n", c)
	}
}

// controls are the actions: whole rules go, or single parameters are kept from them.
func (e excluded) controls() []string {
	var out []string
	tags := e.tags
	if len(e.rules)+len(tags) == 0 {
		tags = []string{everything}
	}
	for by, names := range map[string][]string{"Id": e.rules, "Tag": tags} {
		for _, name := range names {
			if len(e.parameters) == 0 {
				out = append(out, "ctl:ruleRemoveBy"+by+"="+name)
			}
			for _, p := range e.parameters {
				for _, collection := range []string{"ARGS", "ARGS_NAMES"} {
					out = append(out, "ctl:ruleRemoveTargetBy"+by+"="+name+";"+collection+":"+p)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func alternatives(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(t, "/")), `"`, "")
	}
	return strings.Join(quoted, "|")
}
