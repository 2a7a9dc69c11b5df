package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	protocoltest.Conformance(t, func() agent.Agent { return started(t) })
}

func fresh(t *testing.T, config string) *waf {
	t.Helper()
	w := started(t)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.Configure(context.Background(), []byte(config)); err != nil {
		t.Fatal(err)
	}
	return w
}

// exchange is a request with body, and a response.
type exchange struct {
	method, target, host, kind, body string
	answer                           string
}

var serial struct {
	sync.Mutex
	n int
}

// judge gives the agent every event of an exchange until one is refused.
func judge(t *testing.T, w *waf, x exchange) protocol.Verdict {
	t.Helper()
	serial.Lock()
	serial.n++
	id := fmt.Sprint("x", serial.n)
	serial.Unlock()
	if x.host == "" {
		x.host = "www.example.com"
	}
	if x.method == "" {
		x.method = "GET"
	}
	r := &protocol.RequestHeaders{Metadata: protocol.Metadata{CorrelationID: id, RequestID: "r-" + id, ClientIP: "192.0.2.1", ClientPort: 1234, Protocol: "HTTP/1.1"}, Method: x.method, URI: x.target,
		Headers: protocol.Headers{{Name: "host", Value: x.host}, {Name: "user-agent", Value: "Mozilla/5.0"}, {Name: "accept", Value: "*/*"}}}
	if x.body != "" {
		r.Headers = append(r.Headers, protocol.Header{Name: "content-type", Value: x.kind}, protocol.Header{Name: "content-length", Value: fmt.Sprint(len(x.body))})
	}
	ctx := context.Background()
	defer w.Complete(ctx, &protocol.RequestComplete{CorrelationID: id})
	v, err := w.Request(ctx, r)
	half := len(x.body) / 2
	for i, part := range []string{x.body[:half], x.body[half:]} {
		if err != nil || v.Action != protocol.ActionAllow || x.body == "" {
			break
		}
		v, err = w.RequestBody(ctx, &protocol.BodyChunk{CorrelationID: id, Data: []byte(part), Index: uint32(i), Last: i == 1})
	}
	if err == nil && v.Action == protocol.ActionAllow && x.answer != "" {
		if v, err = w.Response(ctx, &protocol.ResponseHeaders{CorrelationID: id, Status: 200, Headers: protocol.Headers{{Name: "content-type", Value: "text/html"}}}); err == nil && v.Action == protocol.ActionAllow {
			v, err = w.ResponseBody(ctx, &protocol.BodyChunk{CorrelationID: id, Data: []byte(x.answer), Last: true})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	form      = "application/x-www-form-urlencoded"
	multipart = "multipart/form-data; boundary=xyz"
	sqli      = "1' OR '1'='1' UNION SELECT password FROM users--"
)

func part(value string) string {
	return "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + value + "\r\n--xyz--\r\n"
}

func upload(name string) string {
	return "--xyz\r\nContent-Disposition: form-data; name=\"a\"; filename=\"" + name + "\"\r\nContent-Type: image/png\r\n\r\ndata\r\n--xyz--\r\n"
}

// TestAttacksAndTwins: each attack is refused with the rules' version on record, its innocent twin passes.
func TestAttacksAndTwins(t *testing.T) {
	t.Parallel()
	w := fresh(t, `{"inspect-responses": true}`)
	for name, pair := range map[string][2]exchange{
		"query":     {{target: "/?id=1%27%20OR%20%271%27=%271%27%20UNION%20SELECT%20password%20FROM%20users--"}, {target: "/?id=17"}},
		"xss":       {{target: "/?q=%3Cscript%3Ealert(1)%3C/script%3E"}, {target: "/?q=script"}},
		"traversal": {{target: "/?f=../../../../etc/passwd"}, {target: "/?f=notes.txt"}},
		"form":      {{method: "POST", target: "/", kind: form, body: "id=" + strings.ReplaceAll(sqli, " ", "+")}, {method: "POST", target: "/", kind: form, body: "id=17&name=Jane"}},
		"json":      {{method: "POST", target: "/", kind: "application/json", body: `{"a": {"b": "` + sqli + `"}}`}, {method: "POST", target: "/", kind: "application/json", body: `{"a": {"b": "hello"}}`}},
		"bad json":  {{method: "POST", target: "/", kind: "application/json", body: `{"a": `}, {method: "POST", target: "/", kind: "application/json", body: `{"a": 1}`}},
		"xml":       {{method: "POST", target: "/", kind: "text/xml", body: `<a><b>` + sqli + `</b></a>`}, {method: "POST", target: "/", kind: "text/xml", body: `<a><b>hello</b></a>`}},
		"multipart": {{method: "POST", target: "/", kind: multipart, body: part(sqli)}, {method: "POST", target: "/", kind: multipart, body: part("hello")}},
		"upload":    {{method: "POST", target: "/", kind: multipart, body: upload("a.php")}, {method: "POST", target: "/", kind: multipart, body: upload("a.png")}},
		"response":  {{target: "/", answer: "<b>Fatal error</b>: You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"}, {target: "/", answer: "<b>hello</b>"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, w, pair[0])
			if v.Action != protocol.ActionBlock || len(v.Audit.RuleIDs) == 0 || !slices.Contains(v.Audit.Tags, "crs-4.25.0") {
				t.Errorf("the attack: %+v", v)
			}
			if v := judge(t, w, pair[1]); v.Action != protocol.ActionAllow || len(v.Audit.RuleIDs) > 0 || !slices.Contains(v.Audit.Tags, "crs-4.25.0") {
				t.Errorf("the innocent twin: %+v", v)
			}
		})
	}
	if open, _ := w.open.sizes(); open != 0 {
		t.Errorf("%d exchanges are remembered after their end", open)
	}
}

var attack = exchange{target: "/app/x?id=1%27%20OR%20%271%27=%271%27%20UNION%20SELECT%20password%20FROM%20users--"}

func (x exchange) at(target, host string) exchange {
	_, query, _ := strings.Cut(x.target, "?")
	x.target, x.host = target+"?"+query, host
	return x
}

// TestKeys: each key has the effect it promises.
func TestKeys(t *testing.T) {
	t.Parallel()
	exact := `{"exclusions": {"a": {"tags": "attack-sqli", "paths": "/app", "hosts": "a.example.com"}}}`
	block, allow := protocol.ActionBlock, protocol.ActionAllow
	big := exchange{method: "POST", target: "/", kind: form, body: "a=" + strings.Repeat("x", 200)}
	for _, step := range []struct {
		config string
		x      exchange
		want   protocol.Action
	}{
		{`{}`, attack, block},
		{`{"mode": "detection"}`, attack, allow},
		{`{"inbound-anomaly-threshold": 1000}`, attack, allow},
		{`{}`, exchange{method: "PUT", target: "/"}, block},
		{`{"allowed-methods": ["GET", "PUT"]}`, exchange{method: "PUT", target: "/"}, allow},
		{`{"request-body-limit-bytes": 100}`, big, block},
		{`{"request-body-limit-bytes": 1000}`, big, allow},
		{`{"request-body-limit-bytes": 100, "request-body-over-limit": "partial"}`, big, allow},
		{`{"exclusions": {"a": {"tags": "attack-sqli"}}}`, attack, allow},
		{`{"exclusions": {"a": {"rules": "942000-942999"}}}`, attack, allow},
		{`{"exclusions": {"a": {"rules": 942100}}}`, attack, block}, // others still fire
		{`{"exclusions": {"a": {"parameters": "id"}}}`, attack, allow},
		{`{"exclusions": {"a": {"parameters": "other"}}}`, attack, block},
		{exact, attack.at("/app/x", "a.example.com"), allow},
		{exact, attack.at("/app/x", "A.example.com:8080"), allow},
		{exact, attack.at("/app/x", "b.example.com"), block},
		{exact, attack.at("/apple", "a.example.com"), block},
		{exact, attack.at("/app/../x", "a.example.com"), block},
		{exact, attack.at("/app/%2e%2e/x", "a.example.com"), block},
	} {
		if v := judge(t, fresh(t, step.config), step.x); v.Action != step.want {
			t.Errorf("%s: %s %s on %s: %v, want %v (%v)", step.config, step.x.method, step.x.target, step.x.host, v.Action, step.want, v.Audit.RuleIDs)
		}
	}
	v := judge(t, fresh(t, `{"status": 406, "body": "no\n"}`), attack)
	if v.Status != 406 || string(v.Body) != "no\n" {
		t.Errorf("answer %d %q", v.Status, v.Body)
	}
	low, high := judge(t, fresh(t, `{"mode": "detection"}`), attack), judge(t, fresh(t, `{"mode": "detection", "paranoia-level": 4}`), attack)
	if len(high.Audit.RuleIDs) <= len(low.Audit.RuleIDs) {
		t.Errorf("paranoia level 4 finds %v, level 1 %v", high.Audit.RuleIDs, low.Audit.RuleIDs)
	}
	leak := exchange{target: "/", answer: "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"}
	if v := judge(t, fresh(t, `{"inspect-responses": true, "outbound-anomaly-threshold": 1000}`), leak); v.Action != allow {
		t.Errorf("outbound threshold: %+v", v)
	}
	if v := judge(t, fresh(t, `{}`), leak); v.Action != allow {
		t.Errorf("responses inspected without being asked: %+v", v)
	}
}

// TestRefusals: a wrong configuration is refused with its key and changes nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"off/a.conf": "SecRuleEngine Off\n", "syntax/a.conf": "SecRule ARGS \"@nothing\" \"id:1\"\n", "id/a.conf": "SecAction \"id:10000001,phase:1,pass\"\n", "none/a.txt": "", "crs/a.conf": "SecMarker x\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := fresh(t, `{"status": 418}`)
	for config, want := range map[string]string{
		`{"mod": "detection"}`:                                "mod: unknown key",
		`{"mode": "off"}`:                                     "mode: ",
		`{"paranoia-level": 5}`:                               "paranoia-level: ",
		`{"paranoia-level": "1"}`:                             "paranoia-level: ",
		`{"inbound-anomaly-threshold": 0}`:                    "inbound-anomaly-threshold: ",
		`{"outbound-anomaly-threshold": 0}`:                   "outbound-anomaly-threshold: ",
		`{"request-body-limit-bytes": 0}`:                     "request-body-limit-bytes: ",
		`{"response-body-limit-bytes": -1}`:                   "response-body-limit-bytes: ",
		`{"request-body-over-limit": "x"}`:                    "request-body-over-limit: ",
		`{"status": 200}`:                                     "status: ",
		`{"max-transactions": 0}`:                             "max-transactions: ",
		`{"allowed-methods": "GET PUT"}`:                      "allowed-methods: ",
		`{"redact": []}`:                                      "redact: ",
		`{"rules-version": "4.0.0"}`:                          "rules-version: ",
		`{"rules-directory": "` + dir + `/crs"}`:              "rules-directory: ",
		`{"rules-directory": "/nowhere"}`:                     "rules-directory: ",
		`{"custom-rules-directory": "` + dir + `/none"}`:      "custom-rules-directory: no .conf file",
		`{"custom-rules-directory": "` + dir + `/off"}`:       "a.conf:1: directive SecRuleEngine",
		`{"custom-rules-directory": "` + dir + `/id"}`:        "a.conf:1: rule id",
		`{"custom-rules-directory": "` + dir + `/syntax"}`:    "rules: ",
		`{"audit-log": "/nowhere/x"}`:                         "audit-log: ",
		`{"exclusions": {"a": {}}}`:                           "exclusions.a: ",
		`{"exclusions": {"a": {"rules": "x"}}}`:               "exclusions.a.rules: ",
		`{"exclusions": {"a": {"rules": 1, "paths": "x"}}}`:   "exclusions.a.paths: ",
		`{"exclusions": {"a": {"tags": "a\"b"}}}`:             "exclusions.a.tags: ",
		`{"exclusions": {"a": {"tag": "a"}}}`:                 "exclusions.a.tag: unknown key",
		`{"exclusions": {"a": {"parameters": "%{tx.x}"}}}`:    "exclusions.a.parameters: ",
		`{"exclusions": {"a": {"rules": 1, "hosts": "a b"}}}`: "exclusions.a.hosts: ",
		`{"exclusions": {"a": {"rules": {"x": 1}}}}`:          "exclusions.a.rules: ",
		`{"exclusions": {"a": {"rules": "942100-1"}}}`:        "exclusions.a.rules: ",
	} {
		if err := w.Configure(context.Background(), []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", config, err, want)
		}
	}
	if v := judge(t, w, attack); v.Status != 418 {
		t.Errorf("a refused configuration changed something: %+v", v)
	}
}

// TestCustomRules: custom rules count, are followed while the agent runs, and a broken change leaves them in force.
func TestCustomRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "a.conf")); err != nil {
			t.Fatal(err)
		}
	}
	rule := "SecRule ARGS:x \"@streq %s\" \\\n  \"id:1000,phase:1,deny,status:403,log,msg:'own rule'\"\n"
	write(fmt.Sprintf(rule, "one"))
	w := fresh(t, fmt.Sprintf(`{"custom-rules-directory": %q}`, dir))
	if err := w.Start(context.Background(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	refused := func(value string) bool {
		return judge(t, w, exchange{target: "/?x=" + value}).Action == protocol.ActionBlock
	}
	if !refused("one") || refused("two") {
		t.Fatal("the custom rule has no effect, or too much")
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	write(fmt.Sprintf(rule, "twoo"))
	until("the change is not taken", func() bool { return refused("twoo") && !refused("one") })
	write("SecRule nonsense\n")
	until("the broken change is not noticed", func() bool { return w.count.reloadErrors.Load() > 0 })
	if !refused("twoo") {
		t.Error("a broken change took the rules out of force")
	}
}

func TestAuditLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waf.log")
	w := started(t)
	if err := w.Configure(context.Background(), fmt.Appendf(nil, `{"audit-log": %q, "redact": "iban"}`, path)); err != nil {
		t.Fatal(err)
	}
	judge(t, w, exchange{target: "/clean"})
	judge(t, w, exchange{target: "/?password=hunter2%27+OR+1%3D1--+UNION+SELECT+1&iban=XY12&q=%3Cscript%3Ealert(1)%3C/script%3E"})
	if err := w.Reopen(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var rec struct {
		Action, Client, Target string
		Version                string `json:"rules_version"`
		Rules                  []struct{ ID, Phase int }
	}
	if len(lines) != 1 || json.Unmarshal(lines[0], &rec) != nil {
		t.Fatalf("log:\n%s", text)
	}
	if rec.Action != "block" || rec.Client != "192.0.2.1" || rec.Version != "4.25.0" || len(rec.Rules) == 0 || rec.Rules[0].ID == 0 || rec.Rules[0].Phase == 0 {
		t.Errorf("record %s", lines[0])
	}
	for _, secret := range []string{"hunter2", "XY12"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the log tells %s:\n%s", secret, text)
		}
	}
	if !bytes.Contains(text, []byte("script")) {
		t.Errorf("what was found is not told:\n%s", text)
	}
}

// TestForgets: the table is bounded, and what was forgotten is not judged, which leaves it to the failure mode.
func TestForgets(t *testing.T) {
	t.Parallel()
	w := fresh(t, `{"max-transactions": 2}`)
	ctx := context.Background()
	for i := range 3 {
		r := protocoltest.Request(fmt.Sprint("f", i))
		if _, err := w.Request(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.RequestBody(ctx, &protocol.BodyChunk{CorrelationID: "f0", Data: []byte("x"), Last: true}); err == nil {
		t.Error("a body without its head was judged")
	}
	if _, err := w.RequestBody(ctx, &protocol.BodyChunk{CorrelationID: "f2", Data: []byte("x"), Last: true}); err != nil {
		t.Error(err)
	}
	w.open.expire(time.Now().Add(time.Hour))
	if open, evicted := w.open.sizes(); open != 0 || evicted != 1 {
		t.Errorf("open %d, evicted %d", open, evicted)
	}
	for _, s := range w.Metrics().Counters {
		if s.Help == "" {
			t.Errorf("%s has no help", s.Name)
		}
	}
}

// TestReloadUnderTraffic changes the rules while requests are judged.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	w := fresh(t, `{}`)
	ctx, cancel := context.WithCancel(context.Background())
	var askers sync.WaitGroup
	for range 3 {
		askers.Go(func() {
			for ctx.Err() == nil {
				if v := judge(t, w, attack); v.Action != protocol.ActionBlock {
					t.Errorf("during a reload: %v", v.Action)
				}
			}
		})
	}
	for i := range 4 {
		if err := w.Configure(ctx, fmt.Appendf(nil, `{"paranoia-level": %d}`, i+1)); err != nil {
			t.Error(err)
		}
	}
	cancel()
	askers.Wait()
}

// started is an agent as it starts.
func started(t testing.TB) *waf {
	t.Helper()
	w, err := newWAF("test")
	if err != nil {
		t.Fatal(err)
	}
	return w
}
