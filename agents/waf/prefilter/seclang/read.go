package seclang

import (
	"bufio"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ignored are directives that do not decide what a rule means: switches and limits of the engine, which whoever calls Read knows since it wrote them.
var ignored = []string{"secruleengine", "secrequestbodyaccess", "secrequestbodylimit", "secrequestbodyinmemorylimit", "secrequestbodylimitaction", "secrequestbodyjsondepthlimit", "secargumentslimit",
	"secresponsebodyaccess", "secresponsebodymimetype", "secresponsebodylimit", "secresponsebodylimitaction", "secauditengine", "seccomponentsignature"}

// Read reads directives, and the files they include from root. The rules come in the order in which the engine has them, those that were removed left out.
func Read(text string, root fs.FS) ([]Rule, error) {
	r := &reader{root: root}
	if err := r.lines(text, ""); err != nil {
		return nil, err
	}
	if r.open {
		return nil, fmt.Errorf("rule %d: the rule chained to it is missing", r.rules[len(r.rules)-1].ID)
	}
	return r.rules, nil
}

type reader struct {
	root  fs.FS
	rules []Rule
	open  bool // the last rule waits for one chained to it
	depth int
}

// maxDepth bounds files that include files.
const maxDepth = 8

// lines joins lines that a backslash continues, and hands each on.
func (r *reader) lines(text, dir string) error {
	var joined strings.Builder
	scan := bufio.NewScanner(strings.NewReader(text))
	for scan.Scan() {
		line := strings.TrimSpace(scan.Text())
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[len(line)-1] == '`' || line[0] == '`':
			return fmt.Errorf("text in backticks is not understood: %.60s", line)
		case line[len(line)-1] == '\\':
			joined.WriteString(strings.TrimSuffix(line, `\`))
			continue
		}
		joined.WriteString(line)
		if err := r.directive(joined.String(), dir); err != nil {
			return err
		}
		joined.Reset()
	}
	return scan.Err()
}

func (r *reader) directive(line, dir string) error {
	name, options, _ := strings.Cut(line, " ")
	if len(options) >= 3 && options[0] == '"' && options[len(options)-1] == '"' {
		options = strings.Trim(options, `"`)
	}
	name = strings.ToLower(name)
	switch {
	case slices.Contains(ignored, name):
		return nil
	case name == "include":
		return r.include(options, dir)
	case name == "secdefaultaction":
		return defaults(options)
	case name == "secmarker":
		r.rules = append(r.rules, Rule{Marker: options})
		return nil
	case name == "secaction" || name == "secrule":
		return r.rule(options, name == "secrule", dir)
	}
	return r.change(name, options)
}

func (r *reader) include(name, dir string) error {
	if strings.Contains(name, "*") || r.depth >= maxDepth {
		return fmt.Errorf("directive Include %s: patterns, and files nested more than %d deep, are not understood", name, maxDepth)
	}
	r.depth++
	defer func() { r.depth-- }()
	if name = strings.TrimSpace(name); !strings.HasPrefix(name, "/") {
		name = path.Join(dir, name)
	}
	text, err := fs.ReadFile(r.root, name)
	if err != nil {
		return err
	}
	return r.lines(string(text), path.Dir(name))
}

// defaults accepts default actions that change nothing: others would belong to every rule.
func defaults(options string) error {
	for _, a := range splitActions(options) {
		if !slices.Contains([]string{"phase", "log", "nolog", "auditlog", "noauditlog", "pass"}, a.Name) {
			return fmt.Errorf("SecDefaultAction: %s is not understood", a.Name)
		}
	}
	return nil
}

// rule reads a rule, or the next of a chain.
func (r *reader) rule(options string, withOperator bool, dir string) error {
	rule := Rule{Phase: 2, Dir: dir}
	link := Link{}
	actions := unquote(options)
	if withOperator {
		vars, operator, rest, err := splitRule(options)
		if err != nil {
			return err
		}
		if link.Targets, err = targets(nil, vars); err != nil {
			return err
		}
		link.Operator, actions = parseOperator(operator), rest
	}
	chain, err := link.act(&rule, splitActions(actions))
	if err != nil {
		return fmt.Errorf("rule %d: %v", rule.ID, err)
	}
	if r.open {
		last := &r.rules[len(r.rules)-1]
		last.Links = append(last.Links, link)
	} else {
		rule.Links = []Link{link}
		r.rules = append(r.rules, rule)
	}
	r.open = chain
	return nil
}
