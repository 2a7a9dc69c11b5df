package script

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// elsewhere are keys without an effect on the proxy, by the start of their path, and who shows theirs.
var elsewhere = map[string]string{
	"stack":                  "only the supervisor reads it: stack/e2e",
	"agents.agent.type":      "which program the supervisor starts: stack/plan",
	"agents.agent.external":  "that the supervisor starts none: stack/plan",
	"agents.agent.command":   "how the supervisor starts the agent: stack/e2e",
	"agents.agent.env":       "the agent's process: stack/plan, stack/e2e",
	"agents.agent.env-file":  "the agent's process: stack/plan, stack/e2e",
	"agents.agent.pass-env":  "the agent's process: stack/e2e",
	"agents.agent.secret":    "the agent's process: stack/e2e",
	"agents.agent.sandbox":   "the agent's process: stack/sandbox, stack/e2e",
	"agents.agent.user":      "the agent's process: stack/sandbox, stack/e2e",
	"agents.agent.group":     "the agent's process: stack/sandbox, stack/e2e",
	"agents.agent.restart":   "the supervisor's: stack/supervise",
	"agents.agent.ready":     "the supervisor's: stack/supervise",
	"agents.agent.limits":    "of the agent's process: stack/plan, stack/limits, stack/e2e",
	"agents.agent.stop":      "the supervisor's: stack/supervise",
	"agents.agent.instances": "how many processes the supervisor starts and the proxy asks: stack/plan, stack/e2e",
}

// key is what `sentinel schema --format json` says of one key.
type key struct {
	Name   string   `json:"name"`
	Path   string   `json:"path"`
	Shape  string   `json:"shape"`
	Values []string `json:"values"`
	Keys   []key    `json:"keys"`
}

// TestEveryKeyHasAScript fails when a key of the configuration, or one of the words it takes, stands in no script: then nobody has shown that it has an effect.
func TestEveryKeyHasAScript(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(program, "schema", "--format", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Keys []key `json:"keys"`
	}
	if err := json.Unmarshal(out, &schema); err != nil {
		t.Fatal(err)
	}
	said := mentions(t)
	used := map[string]bool{}
	seen := 0
	var walk func(keys []key)
	walk = func(keys []key) {
		for _, k := range keys {
			if prefix := exception(k.Path); prefix != "" {
				used[prefix] = true
				continue
			}
			seen++
			words, ok := said[plain(k.Path)]
			if !ok {
				t.Errorf("%s stands in no script", k.Path)
			}
			for _, v := range k.Values {
				if ok && !slices.Contains(words, v) {
					t.Errorf("%s %q stands in no script", k.Path, v)
				}
			}
			walk(k.Keys)
		}
	}
	walk(schema.Keys)
	for prefix := range elsewhere {
		if !used[prefix] {
			t.Errorf("the exception for %s is for no key", prefix)
		}
	}
	if seen < 100 {
		t.Errorf("only %d keys seen", seen)
	}
	t.Logf("%d keys, %d exceptions", seen, len(elsewhere))
}

func exception(path string) string {
	for prefix := range elsewhere {
		if path == prefix || strings.HasPrefix(path, prefix+".") {
			return prefix
		}
	}
	return ""
}

// plain is a path without the units that names may end in.
func plain(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		for _, unit := range []string{"-secs", "-ms", "-bytes"} {
			p = strings.TrimSuffix(p, unit)
		}
		parts[i] = p
	}
	return strings.Join(parts, ".")
}

// mentions collects the keys that the configurations in the scripts set, with their words: as the files are at first, and after each edit.
func mentions(t *testing.T) map[string][]string {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(scripts) < 10 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	said := map[string][]string{}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		archive := txtar.Parse(text)
		files := map[string]string{}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".kdl") {
				files[f.Name] = string(f.Data)
				mention(said, f.Name, string(f.Data))
			}
		}
		for line := range strings.Lines(string(archive.Comment)) {
			rest, ok := strings.CutPrefix(line, "edit ")
			parts := strings.Split(rest, "'")
			if !ok || len(parts) < 4 {
				continue
			}
			name := strings.TrimSpace(parts[0])
			files[name] = strings.ReplaceAll(files[name], parts[1], parts[3])
			mention(said, name, files[name])
		}
	}
	return said
}

// mention adds what one file sets; a file that is broken on purpose sets nothing.
func mention(said map[string][]string, name, text string) {
	doc, errs := kdl.Parse(name, []byte(text))
	if len(errs) > 0 {
		return
	}
	var walk func(prefix string, nodes []*kdl.Node)
	walk = func(prefix string, nodes []*kdl.Node) {
		for _, n := range nodes {
			path := plain(prefix + n.Name)
			said[path] = append(said[path], words(n.Args)...)
			if len(n.Args) == 1 { // the argument of a block is the type of what it holds
				said[path+".type"] = append(said[path+".type"], words(n.Args)...)
			}
			for _, p := range n.Props {
				at := plain(path + "." + p.Key)
				said[at] = append(said[at], words([]kdl.Value{p.Value})...)
			}
			walk(path+".", n.Children)
		}
	}
	walk("", doc.Nodes)
}

func words(values []kdl.Value) []string {
	out := []string{}
	for _, v := range values {
		out = append(out, v.Str)
	}
	return out
}
