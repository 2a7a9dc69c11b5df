package seclang

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/types"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

func TestRead(t *testing.T) {
	root := fstest.MapFS{"sub/a.conf": {Data: []byte("# a comment\nSecRule REQUEST_HEADERS|!REQUEST_HEADERS:Cookie|&ARGS:/a|b/ \"!@rx x\\\"y\" \\\n  \"id:7,phase:1,t:none,t:lowercase,deny,tag:'a,b',msg:'it\\'s',chain\"\n  SecRule TX:1 \"@streq %{tx.x}\" \"t:none,setvar:'tx.a=1'\"\nSecMarker \"END\"\n")}}
	got, err := Read("Include sub/a.conf\nSecAction \"id:8,phase:2,pass,nolog,ctl:auditEngine=Off\"\nSecRule ARGS \"bare\" \"id:9\"\nSecRuleRemoveById 8\nSecRuleUpdateTargetById 9 \"!ARGS:foo\"\n", root)
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{ID: 7, Phase: 1, Tags: []string{"a,b"}, Msg: `it\'s`, Dir: "sub", Links: []Link{
			{Targets: []Target{{Variable: "REQUEST_HEADERS", Except: []Key{{Text: "Cookie"}}}, {Variable: "ARGS", Key: Key{Text: "a|b", Rx: true}, Count: true}}, Operator: &Operator{Name: "rx", Arg: `x"y`, Not: true},
				Transforms: []string{"lowercase"}, HasMsg: true, Disruptive: "deny"},
			{Targets: []Target{{Variable: "TX", Key: Key{Text: "1"}}}, Operator: &Operator{Name: "streq", Arg: "%{tx.x}"}, Actions: []Action{{"setvar", "tx.a=1"}}},
		}},
		{Marker: "END"},
		{ID: 9, Phase: 2, Links: []Link{{Targets: []Target{{Variable: "ARGS", Except: []Key{{Text: "foo"}}}}, Operator: &Operator{Name: "rx", Arg: "bare"}}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"SecRule ARGS":                               "without a quoted operator",
		"SecRule ARGS \"@rx a\" id:1":                "not quoted",
		"SecRuleUpdateActionById 1 \"deny\"":         "not understood",
		"SecAction \"id:x\"":                         "no number",
		"SecAction \"id:1,phase:9\"":                 "no phase",
		"SecAction \"id:1,frobnicate\"":              "not understood",
		"SecAction \"id:1,pass,chain\"":              "missing",
		"SecDefaultAction \"phase:1,deny\"":          "not understood",
		"Include *.conf":                             "patterns",
		"Include gone.conf":                          "gone.conf",
		"SecRuleRemoveById a":                        "no rule id",
		"SecDataset x `":                             "backticks",
		"SecRule | \"@rx a\" \"id:1\"":               "without a name",
		"SecRule ARGS:// \"@rx a\" \"id:1,phase:1\"": "empty regular expression",
		"SecRuleUpdateTargetById 1 2 \"!ARGS:foo\"":  "wants a rule",
	} {
		if _, err := Read(text, fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Every rule of the Core Rule Set is read, and none besides.
func TestCoreRuleSet(t *testing.T) {
	var text strings.Builder
	entries, err := fs.ReadDir(coreruleset.FS, "@owasp_crs")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".conf") {
			text.WriteString("Include @owasp_crs/" + e.Name() + "\n")
		}
	}
	var want []int
	conf := experimental.WAFConfigWithRuleObserver(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(text.String()), func(r types.RuleMetadata) {
		if r.ID() != 0 {
			want = append(want, r.ID())
		}
	})
	if _, err := coraza.NewWAF(conf); err != nil {
		t.Fatal(err)
	}
	rules, err := Read(text.String(), coreruleset.FS)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for i := range rules {
		if rules[i].Marker == "" {
			got = append(got, rules[i].ID)
		}
	}
	if !reflect.DeepEqual(got, want) || len(got) < 600 {
		t.Errorf("%d rules, the engine has %d", len(got), len(want))
	}
}

func FuzzRead(f *testing.F) {
	f.Add("SecRule ARGS|!ARGS:/a\\/|b/|&XML:/* \"!@rx a\\\"b\" \"id:1,phase:2,t:none,msg:'a,b',chain\"\nSecRule TX:0 \"x\"\nSecMarker A\nSecRuleRemoveByTag x")
	f.Add("SecAction \\\n\"id:1,\\\nsetvar:'tx.a=%{b}'\"")
	f.Fuzz(func(t *testing.T, text string) {
		if rules, err := Read(text, fstest.MapFS{}); err == nil {
			for i := range rules {
				if rules[i].Marker == "" && len(rules[i].Links) == 0 {
					t.Fatalf("a rule without links in %q", text)
				}
			}
		}
	})
}
