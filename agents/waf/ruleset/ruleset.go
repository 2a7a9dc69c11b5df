// Package ruleset turns configuration text into rules in force: it writes the directives, compiles them together with the OWASP Core Rule Set, and inspects exchanges with the result.
//
// A Set never changes; a new configuration is a new Set, and exchanges under way finish with the one they began with. It is the only package that knows the engine, Coraza.
package ruleset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/corazawaf/coraza/v3"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
)

// Set is a configuration in force.
type Set struct {
	Config  Config
	Version string   // of the Core Rule Set
	Redact  []string // names of parameters, cookies and fields whose values are kept out of the log
	// NoFastPath is why the engine has to look at every request although the configuration wants that avoided; nil when it has not.
	NoFastPath error

	engine coraza.WAF
	filter *prefilter.Filter // nil: the engine looks at everything
	stamp  string
}

var defaultRedact = []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "password", "passwd", "pwd", "pass", "secret", "token", "access_token", "refresh_token",
	"api_key", "apikey", "session", "sessionid", "card", "cvv"}

// New compiles a configuration, or returns what is wrong with it, each error with its key.
func New(text json.RawMessage) (*Set, error) {
	c, err := decode(text)
	if err != nil {
		return nil, err
	}
	s := &Set{Config: c, stamp: stampOf(c.CustomRulesDirectory)}
	directives, err := s.directives()
	if err != nil {
		return nil, err
	}
	s.engine, err = coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(files{}).WithDirectives(directives))
	if err != nil {
		return nil, fmt.Errorf("rules: %v", err)
	}
	if c.FastPath {
		s.filter, s.NoFastPath = prefilter.New(directives, files{}, prefilter.Limits{Arguments: maxArguments, JSONDepth: maxJSONDepth})
	}
	return s, nil
}

// Close gives back what the compiled rules hold outside of the garbage collector's sight. Exchanges under way may go on.
func (s *Set) Close() {
	if c, ok := s.engine.(io.Closer); ok {
		_ = c.Close()
	}
}

// directives writes the whole text for the engine.
func (s *Set) directives() (string, error) {
	c := &s.Config
	var problems []error
	note := func(key string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %v", key, err))
		}
	}
	names, version, err := core(c.RulesDirectory)
	note("rules-directory", err)
	if err == nil && c.RulesVersion != "" && c.RulesVersion != version {
		note("rules-version", fmt.Errorf("the rules are version %s, not %s", version, c.RulesVersion))
	}
	s.Version = version
	own, err := custom(c.CustomRulesDirectory)
	note("custom-rules-directory", err)
	exclusions, err := c.exclusions()
	problems = append(problems, err)
	methods, err := textsOf(c.AllowedMethods, "allowed-methods", plain)
	problems = append(problems, err)
	redact, err := textsOf(c.Redact, "redact", plain)
	problems = append(problems, err)
	for _, name := range append(redact, defaultRedact...) {
		s.Redact = append(s.Redact, strings.ToLower(name))
	}
	var out strings.Builder
	c.writeEngine(&out)
	c.writeSetup(&out, methods)
	out.WriteString(exclusions)
	for i, name := range names {
		fmt.Fprintf(&out, "Include %s\n", name)
		// Custom rules stand behind the initialisation, so that they may add to scores, and before everything that judges.
		if strings.Contains(name, "REQUEST-901-") || i == len(names)-1 && !strings.Contains(strings.Join(names, " "), "REQUEST-901-") {
			for _, own := range own {
				fmt.Fprintf(&out, "Include %s\n", own)
			}
		}
	}
	return out.String(), errors.Join(problems...)
}

// writeEngine writes what switches the engine: mode, body processors and limits.
func (c *Config) writeEngine(out *strings.Builder) {
	engine, over := "On", "Reject"
	if c.Mode == Detection {
		engine, over = "DetectionOnly", "ProcessPartial"
	}
	if c.OverLimit == "partial" {
		over = "ProcessPartial"
	}
	responses := "Off"
	if c.InspectResponses {
		responses = "On"
	}
	fmt.Fprintf(out, `SecRuleEngine %s
SecRequestBodyAccess On
SecRequestBodyLimit %d
SecRequestBodyInMemoryLimit %d
SecRequestBodyLimitAction %s
SecRequestBodyJsonDepthLimit %d
SecArgumentsLimit %d
SecResponseBodyAccess %s
SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml
SecResponseBodyLimit %d
SecResponseBodyLimitAction ProcessPartial
SecAuditEngine Off
SecDefaultAction "phase:1,log,noauditlog,pass"
SecDefaultAction "phase:2,log,noauditlog,pass"
SecDefaultAction "phase:3,log,noauditlog,pass"
SecDefaultAction "phase:4,log,noauditlog,pass"
`, engine, c.RequestBodyLimit, c.RequestBodyLimit, over, maxJSONDepth, maxArguments, responses, c.ResponseBodyLimit)
	fmt.Fprintf(out, `SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" "id:%d,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/(?:[a-z0-9.-]+\+)?json" "id:%d,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:%d,phase:2,t:none,log,deny,status:400,msg:'Request body cannot be parsed',severity:2"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:%d,phase:2,t:none,log,deny,status:400,msg:'Multipart body is not well-formed',severity:2"
`, firstID+1, firstID+2, firstID+3, firstID+4)
}

// writeSetup writes the variables of the Core Rule Set, in place of its crs-setup.conf.
func (c *Config) writeSetup(out *strings.Builder, methods []string) {
	fmt.Fprintf(out, `SecAction "id:%d,phase:1,pass,t:none,nolog,setvar:tx.crs_setup_version=4250,setvar:tx.blocking_paranoia_level=%d,setvar:tx.detection_paranoia_level=%d,`+
		`setvar:tx.inbound_anomaly_score_threshold=%d,setvar:tx.outbound_anomaly_score_threshold=%d,setvar:tx.enforce_bodyproc_urlencoded=1"`+"\n",
		firstID+5, c.ParanoiaLevel, c.ParanoiaLevel, c.InboundThreshold, c.OutboundThreshold)
	if len(methods) > 0 {
		fmt.Fprintf(out, "SecAction \"id:%d,phase:1,pass,t:none,nolog,setvar:'tx.allowed_methods=%s'\"\n", firstID+6, strings.Join(methods, " "))
	}
}

// stampOf tells whether the operator's files have changed: names, sizes and times. A directory that cannot be read has a stamp of its own.
func stampOf(dir string) string {
	if dir == "" {
		return ""
	}
	names, err := confFiles(dir)
	if err != nil {
		return "unreadable"
	}
	var out strings.Builder
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&out, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return out.String()
}

// Stamp returns a text that differs when the custom rules on disk do, and whether it differs from that of the files this set was made of.
func (s *Set) Stamp() (now string, changed bool) {
	now = stampOf(s.Config.CustomRulesDirectory)
	return now, now != s.stamp
}
