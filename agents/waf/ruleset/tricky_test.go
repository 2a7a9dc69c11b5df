package ruleset

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// tricky are rules of an operator's that change what other rules mean.
var tricky = map[string]string{
	"a score":                    `SecRule ARGS:q "@contains bike" "id:1,phase:2,pass,log,msg:'x',setvar:tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}"`,
	"no message":                 `SecRule ARGS:page "@rx ^[0-9]+$" "id:1,phase:1,deny,nolog,status:404"`,
	"a variable for another":     "SecRule ARGS_NAMES \"@rx ^(q|page)$\" \"id:1,phase:1,pass,nolog,capture,setvar:tx.seen_%{tx.1}=1\"\nSecRule TX:/^seen_/ \"@eq 1\" \"id:2,phase:2,deny,log,msg:'seen'\"",
	"a variable of half a chain": "SecRule REQUEST_METHOD \"@streq GET\" \"id:1,phase:1,pass,nolog,setvar:tx.get=1,chain\"\nSecRule ARGS:never \"@eq 1\" \"t:none\"\nSecRule TX:get \"@eq 1\" \"id:2,phase:2,deny,log,msg:'get'\"",
	"a name in a field":          `SecRule TX:/header_name/ "@contains /user-agent/" "id:1,phase:2,deny,log,msg:'agent'"`,
	"gates removed":              `SecRule ARGS:q "@rx ." "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942013-942014"`,
	"a gate removed for all":     `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942014"`,
	"a skip over the gate":       `SecRule ARGS:q "@rx ." "id:1,phase:2,pass,nolog,skip:3"`,
	"skipped rule removed":       `SecRule ARGS:q "@rx ." "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=920540"`,
	"engine off":                 `SecRule ARGS:page "@rx ." "id:1,phase:1,pass,nolog,ctl:ruleEngine=Off"`,
	"allowed":                    `SecRule ARGS:page "@rx ." "id:1,phase:1,allow,nolog"`,
	"another body processor":     `SecRule REQUEST_HEADERS:Content-Type "@contains json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=URLENCODED"`,
	"a count":                    `SecRule &ARGS "@gt 2" "id:1,phase:2,deny,log,msg:'many'"`,
	"a count below":              `SecRule &ARGS:q "@eq 0" "id:1,phase:2,deny,log,msg:'none'"`,
	"a size":                     `SecRule ARGS_COMBINED_SIZE "@gt 60" "id:1,phase:2,deny,log,msg:'large'"`,
	"a level":                    `SecAction "id:1,phase:1,pass,nolog,setvar:tx.detection_paranoia_level=3"`,
	"what matched":               "SecRule ARGS \"@rx ^b\" \"id:1,phase:2,deny,log,msg:'b',chain\"\nSecRule MATCHED_VARS \"@endsWith e\" \"t:none\"",
	"a field compared":           `SecRule ARGS "@streq %{request_headers.host}" "id:1,phase:2,deny,log,msg:'host'"`,
	"an unknown function":        "SecRule ARGS \"@streq 62\" \"id:1,phase:2,deny,log,msg:'hex',t:hexDecode\"",
	"removed rules":              `SecRuleRemoveById 901340`,
}

// notFollowed are those after which there is no fast path.
var notFollowed = map[string]bool{"a gate removed for all": true, "an unknown function": true}

func TestFastPathFollowsCustomRules(t *testing.T) {
	all, err := attacks()
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range tricky {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "own.conf"), []byte(rules+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			config, _ := json.Marshal(map[string]any{"custom-rules-directory": dir})
			s, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := traffic{rand.New(rand.NewPCG(8, 8))}
			clean := 0
			for i := range count(120) {
				m := r.request()
				if i%3 == 0 {
					m = mutate(r.Rand, &all[r.IntN(len(all))], &m)
				}
				if s.agree(t, &m) {
					clean++
				}
			}
			t.Logf("%d are clean; no fast path: %v", clean, s.NoFastPath)
			if off := s.NoFastPath != nil; off != notFollowed[name] {
				t.Errorf("that there is no fast path is %v", off)
			}
		})
	}
}

func TestFastPathFollowsExclusions(t *testing.T) {
	all, err := attacks()
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"rules":        `{"exclusions":{"a":{"rules":"942100-942999"}}}`,
		"tags":         `{"exclusions":{"a":{"tags":"attack-sqli"}}}`,
		"parameters":   `{"exclusions":{"a":{"parameters":"q"}}}`,
		"below a path": `{"exclusions":{"a":{"tags":"attack-xss","paths":"/api"}}}`,
		"everything":   `{"exclusions":{"a":{"tags":"OWASP_CRS","paths":"/static"}}}`,
		"a host":       `{"exclusions":{"a":{"parameters":"q","hosts":"shop.example"}}}`,
		"detection":    `{"mode":"detection"}`,
		"methods":      `{"allowed-methods":["GET"]}`,
	} {
		s := newSet(t, config)
		r := traffic{rand.New(rand.NewPCG(9, 9))}
		clean := 0
		for i := range count(200) {
			m := r.request()
			if i%2 == 0 {
				m = mutate(r.Rand, &all[r.IntN(len(all))], &m)
			}
			if s.agree(t, &m) {
				clean++
			}
		}
		if t.Logf("%s: %d are clean", name, clean); clean == 0 {
			t.Errorf("%s: nothing is clean", name)
		}
	}
}
