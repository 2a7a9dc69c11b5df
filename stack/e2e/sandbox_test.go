package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// sandboxOf asks for the layers of a service, by name.
func (s *stack) sandboxOf(name string, code int) map[string]api.Layer {
	s.t.Helper()
	var box api.Sandbox
	if err := json.Unmarshal([]byte(s.must(code, "inspect", "sandbox", name, "--json")), &box); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]api.Layer{}
	for _, l := range box.Layers {
		out[l.Name] = l
	}
	if box.Service != name || box.PID == 0 || len(out) == 0 {
		s.t.Fatalf("%+v", box)
	}
	return out
}

func environ(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// TestSandboxOfOurAgents: without a word in the configuration every layer is there, the agents serve, and a layer that is switched off is told as such.
func TestSandboxOfOurAgents(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	if status, body, _ := s.get("/"); status != 200 {
		t.Fatal(status, body)
	}
	if status, _, _ := s.get("/secret"); status != 403 {
		t.Error("denylist:", status)
	}
	for _, name := range []string{"echo", "denylist"} {
		for layer, l := range s.sandboxOf(name, 0) {
			want := "enforced"
			if layer == "user" || layer == "secrets" {
				want = "off"
			}
			if l.State != want {
				t.Errorf("%s %s: %+v, want %s", name, layer, l, want)
			}
		}
	}
	proxy := s.sandboxOf("proxy", 0)
	if proxy["no-new-privileges"].State != "enforced" || proxy["seccomp"].State != "enforced" || proxy["network"].State != "off" {
		t.Errorf("%+v", proxy)
	}
	if out := s.must(0, "inspect", "sandbox", "echo"); !strings.Contains(out, "LAYER") || !strings.Contains(out, "no TCP") {
		t.Error(out)
	}
	s.must(1, "inspect", "sandbox", "nobody")
	s.write(strings.Replace(guarded, `agent "echo" type="echo" {`, `agent "echo" type="echo" { sandbox #true { network "host"; private-tmp #false };`, 1))
	s.must(0, "reload")
	echo := s.sandboxOf("echo", 0)
	if echo["network"].State != "off" || echo["landlock"].State != "enforced" || strings.Contains(echo["landlock"].Detail, "TCP") {
		t.Errorf("%+v", echo)
	}
	if status, _, _ := s.get("/"); status != 200 {
		t.Error("after the change:", status)
	}
	// An upgrade takes the boxes over, since the processes stay.
	s.must(0, "upgrade")
	if l := s.sandboxOf("denylist", 0)["landlock"]; l.State != "enforced" {
		t.Errorf("after an upgrade: %+v", l)
	}
}

// TestAgentAsAnotherUser: it says that it is ready, serves, and cannot command the supervisor.
func TestAgentAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := newStack(t, strings.Replace(guarded, `agent "echo" type="echo" {`, `agent "echo" type="echo" { user "nobody";`, 1))
	s.up()
	if status, body, _ := s.get("/"); status != 200 {
		t.Fatal(status, body)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.service("echo").PID))
	if err != nil || !strings.Contains(string(text), "Uid:\t65534\t65534\t65534\t65534") || !strings.Contains(string(text), "Groups:\t \n") {
		t.Errorf("%v %s", err, text)
	}
	if l := s.sandboxOf("echo", 0)["user"]; l.State != "enforced" {
		t.Errorf("%+v", l)
	}
	s.must(0, "restart", "echo")
	if status, _, _ := s.get("/"); status != 200 {
		t.Error("after a restart:", status)
	}
	// A user that does not exist is this service's trouble alone; its routes follow its failure mode.
	s.write(strings.Replace(guarded, `agent "echo" type="echo" {`, `agent "echo" type="echo" { user "no-such-user";`, 1))
	if out := s.must(3, "reload"); !strings.Contains(out, "no user no-such-user") {
		t.Error(out)
	}
	if status, _, _ := s.get("/"); status != 200 {
		t.Error("the refused reload has changed something:", status)
	}
}

const keeper = plain + `
stack { service "keeper" {
    command "DIR/keeper"
    secret "API_KEY" file="DIR/key"
    SANDBOX
} }`

// TestSecrets: a secret is in a file in memory and nowhere else, in a sandbox as well, and a changed one makes another process.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for name, box := range map[string]string{"plain": "", "boxed": `sandbox #true { write "DIR" }`, "other user": `user "nobody"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, plain)
			key := filepath.Join(s.dir, "key")
			if err := os.WriteFile(key, []byte("hunter2\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/sh\ncd %s && cat $CREDENTIALS_DIRECTORY/API_KEY > got.new && mv got.new got\nexec sleep 1000\n", s.dir)
			if err := os.WriteFile(filepath.Join(s.dir, "keeper"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(s.dir, 0o777); err != nil {
				t.Fatal(err)
			}
			s.write(strings.Replace(keeper, "SANDBOX", box, 1))
			s.up()
			got := func() string { b, _ := os.ReadFile(filepath.Join(s.dir, "got")); return string(b) }
			eventually(t, "the secret is read", func() bool { return got() == "hunter2\n" })
			pid := s.service("keeper").PID
			command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err != nil || strings.Contains(string(command)+strings.Join(environ(t, pid), " "), "hunter2") {
				t.Error("it is in arguments or environment", err)
			}
			err = filepath.WalkDir(s.runtime(), func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					if text, _ := os.ReadFile(path); strings.Contains(string(text), "hunter2") {
						t.Error("it is on the disk: ", path)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if out := s.must(0, "status", "--json") + s.must(0, "logs", "-n", "1000"); strings.Contains(out, "hunter2") {
				t.Error("it is shown")
			}
			if err := os.WriteFile(key, []byte("correct horse\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the new secret is read", func() bool { return got() == "correct horse\n" })
			if now := s.service("keeper").PID; now == pid {
				t.Error("the process is the same")
			}
		})
	}
}

// TestMaskedEnvironment: services get what libraries look at and what is named, and nothing else.
func TestMaskedEnvironment(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack {
    service "masked" { command "/bin/sleep" "1000"; env { OWN "1" } }
    service "told" { command "/bin/sleep" "1000"; pass-env "APP_*" }
}`)
	cmd := s.command("up", "-d")
	cmd.Env = append(cmd.Env, "AWS_SECRET_ACCESS_KEY=x", "APP_MODE=y", "LC_TIME=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	has := func(name, variable string) bool {
		return slices.ContainsFunc(environ(t, s.service(name).PID), func(kv string) bool { return strings.HasPrefix(kv, variable+"=") })
	}
	for _, tt := range []struct {
		service, variable string
		want              bool
	}{
		{"masked", "PATH", true}, {"masked", "LC_TIME", true}, {"masked", "OWN", true}, {"masked", "AWS_SECRET_ACCESS_KEY", false}, {"masked", "APP_MODE", false}, {"masked", "E2E_STACK", false},
		{"told", "APP_MODE", true}, {"told", "AWS_SECRET_ACCESS_KEY", false}, {"proxy", "AWS_SECRET_ACCESS_KEY", false}, {"proxy", "PATH", true},
	} {
		if got := has(tt.service, tt.variable); got != tt.want {
			t.Errorf("%s has %s: %v", tt.service, tt.variable, got)
		}
	}
}

// TestBoxedServiceCannotCommand: a service in a sandbox finds no control socket, and where its files are everybody's is refused there, whatever its user may; one without a sandbox is not.
func TestBoxedServiceCannotCommand(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	for name, tt := range map[string]struct{ box, want string }{
		"without a sandbox": {"", "200 200"},
		"seccomp alone":     {`sandbox #true { network "host"; filesystem "host"; private-tmp #false }`, "403 403"},
		"files":             {`sandbox #true { private-tmp #false; write "DIR/out" }`, "000 000"},
		"everything":        {`sandbox #true { write "DIR/out" }`, "000 000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, plain)
			if err := os.Mkdir(filepath.Join(s.dir, "out"), 0o777); err != nil {
				t.Fatal(err)
			}
			s.script("rogue", fmt.Sprintf("ask() { curl -s -o /dev/null -w '%%{http_code}' --unix-socket %s \"$@\"; }\n"+
				"A=$(ask http://x/v1/status); B=$( (ask -X POST http://x/v1/services/victim/restart) & wait ); echo \"$A $B\" > %s/out/new; mv %[2]s/out/new %[2]s/out/got\nexec sleep 1000\n",
				filepath.Join(s.runtime(), "control.sock"), s.dir))
			s.write(plain + `
stack {
    service "victim" { command "/bin/sleep" "1000" }
    service "rogue" { command "DIR/rogue"; ` + tt.box + ` }
}`)
			s.up()
			got := func() string {
				b, _ := os.ReadFile(filepath.Join(s.dir, "out/got"))
				return strings.TrimSpace(string(b))
			}
			eventually(t, "it has tried", func() bool { return got() != "" })
			if got() != tt.want {
				t.Errorf("answered %q, want %q", got(), tt.want)
			}
		})
	}
}
