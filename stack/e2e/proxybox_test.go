package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSandboxOfTheProxy: it may open what its configuration names, also when a reload names something elsewhere, and its box can be taken off.
func TestSandboxOfTheProxy(t *testing.T) {
	t.Parallel()
	logged := func(dir string) string {
		return strings.Replace(guarded, "stack {", `observability { logging { access-log { file "`+dir+`/access.log" } } }
stack {`, 1)
	}
	s := newStack(t, guarded)
	first, second := filepath.Join(s.dir, "first"), filepath.Join(s.dir, "second")
	for _, dir := range []string{first, second} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	s.write(logged(first))
	s.up()
	lines := func(dir string) int {
		text, _ := os.ReadFile(dir + "/access.log")
		return strings.Count(string(text), "\n")
	}
	get := func() {
		t.Helper()
		if code, _, err := s.get("/"); code != 200 || err != nil {
			t.Errorf("%d %v", code, err)
		}
	}
	get()
	eventually(t, "the access log has a line", func() bool { return lines(first) > 0 })
	box := s.sandboxOf("proxy", 0)
	for _, name := range []string{"landlock", "seccomp", "no-new-privileges", "capabilities"} {
		if box[name].State != "enforced" {
			t.Errorf("%s: %+v", name, box[name])
		}
	}
	if d := box["landlock"].Detail; !strings.Contains(d, "writes "+first) || strings.Contains(d, second) {
		t.Error(d)
	}
	if d := box["capabilities"].Detail; strings.Contains(d, "sys_admin") {
		t.Error(d)
	}

	pid := s.service("proxy").PID
	s.write(strings.Replace(logged(first), "Not here.", "Gone.", 1))
	s.must(0, "reload")
	if s.service("proxy").PID != pid {
		t.Error("a reload within the same directories replaced the proxy")
	}
	s.write(logged(second))
	s.must(0, "reload")
	if s.service("proxy").PID == pid {
		t.Error("the proxy was not replaced, and cannot write where its log is now")
	}
	get()
	eventually(t, "the new access log has a line", func() bool { return lines(second) > 0 })

	s.write(strings.Replace(logged(first), "stack { proxy {", "stack { proxy { sandbox #false;", 1))
	s.must(0, "reload")
	get()
	for name, l := range s.sandboxOf("proxy", 0) {
		if l.State == "enforced" && name != "environment" {
			t.Errorf("%s is enforced without a sandbox: %+v", name, l)
		}
	}
}
