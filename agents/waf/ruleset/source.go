package ruleset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// files is what the rule language reads: names with an @ are of the embedded rules, others of the disk.
type files struct{}

// Open opens a file.
func (files) Open(name string) (fs.File, error) {
	if i := strings.Index(name, "@owasp_crs"); i >= 0 {
		return coreruleset.FS.Open(name[i:])
	}
	return os.Open(name)
}

const embedded = "@owasp_crs"

// bounds of what is read from a directory of rules.
const (
	maxRuleFiles = 200
	maxRuleFile  = 4 << 20 // bytes
)

var signature = regexp.MustCompile(`(?m)OWASP_CRS/([0-9]+\.[0-9]+\.[0-9]+)`)

// core returns the Core Rule Set's files in order, and its version. Without a directory it is the embedded one.
func core(dir string) (names []string, version string, err error) {
	if dir == "" {
		dir = embedded
	}
	names, err = confFiles(dir)
	if err == nil && dir != embedded && len(names) == 0 {
		if names, err = confFiles(filepath.Join(dir, "rules")); len(names) == 0 && err == nil {
			err = fmt.Errorf("no .conf file in %s or its folder rules", dir)
		}
	}
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		text, err := readRules(name)
		if err != nil {
			return nil, "", err
		}
		if m := signature.FindSubmatch(text); m != nil {
			return names, string(m[1]), nil
		}
	}
	return nil, "", fmt.Errorf("the files of %s do not say which version of the Core Rule Set they are", dir)
}

// confFiles lists the .conf files of a directory, sorted.
func confFiles(dir string) ([]string, error) {
	var entries []fs.DirEntry
	var err error
	if dir == embedded {
		entries, err = fs.ReadDir(coreruleset.FS, dir)
	} else {
		entries, err = os.ReadDir(dir)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".conf") {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	if len(names) > maxRuleFiles {
		return nil, fmt.Errorf("%s holds more than %d rule files", dir, maxRuleFiles)
	}
	slices.Sort(names)
	return names, nil
}

func readRules(name string) ([]byte, error) {
	f, err := files{}.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRuleFile {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", name, maxRuleFile)
	}
	return fs.ReadFile(files{}, name)
}

// custom lists the files of the operator's directory and refuses what is none of a rule's business.
func custom(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	names, err := confFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no .conf file in %s", dir)
	}
	var problems []error
	for _, name := range names {
		text, err := readRules(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		problems = append(problems, checkDirectives(name, string(text)))
	}
	return names, errors.Join(problems...)
}

// Directives that a custom file may hold. What switches the engine, its limits or its logs belongs into the configuration, where it is checked.
var allowed = []string{"secrule", "secaction", "secmarker", "secruleremovebyid", "secruleremovebytag", "secruleremovebymsg", "secruleupdatetargetbyid", "secruleupdatetargetbytag",
	"secruleupdateactionbyid", "seccomponentsignature"}

var ruleID = regexp.MustCompile(`\bid:'?([0-9]+)`)

func checkDirectives(name, text string) error {
	var problems []error
	continued := false
	for i, line := range strings.Split(text, "\n") {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		inside := continued
		if m := ruleID.FindStringSubmatch(line); m != nil && !strings.HasPrefix(word, "#") && len(m[1]) >= 8 {
			problems = append(problems, fmt.Errorf("%s:%d: rule id %s is not below %d", name, i+1, m[1], firstID))
		}
		continued = strings.HasSuffix(strings.TrimRight(line, "\r \t"), `\`)
		if inside || word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		if !slices.Contains(allowed, strings.ToLower(word)) {
			problems = append(problems, fmt.Errorf("%s:%d: directive %s is not allowed in custom rules", name, i+1, word))
		}
	}
	return errors.Join(problems...)
}
