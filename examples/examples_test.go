// Package examples runs every example: the commands of its README with their outputs, and its script, with the real programs.
package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// bin is the folder of the programs under test; needPrograms fills it.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sentinel-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// needPrograms builds every program once, from the sources beside this folder.
func needPrograms(t *testing.T) {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
}

var buildOnce = sync.OnceValue(func() error {
	for name, pkg := range map[string]string{"sentinel": "./proxy", "sentinel-stack": "./stack", "sentinel-denylist": "./agents/denylist", "sentinel-echo": "./agents/echo", "sentinel-waf": "./agents/waf"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg)
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %v\n%s", pkg, err, out)
		}
	}
	return nil
})

// need finds a program, or skips the test, which in CI must not happen.
func need(t *testing.T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed, and CI=true: this test must run (apt-get install %s)", program, debianPackage)
	}
	t.Skipf("SKIP: %s is not installed (apt-get install %s)", program, debianPackage)
	return ""
}

// TestExamples runs the script of each folder. The script finds a copy of the folder as its working directory, the programs on its PATH, PORT set to a free port and
// a runtime directory of its own.
func TestExamples(t *testing.T) {
	need(t, "curl", "curl")
	needPrograms(t)
	scripts, err := filepath.Glob("*/script.txtar")
	if err != nil || len(scripts) < 4 {
		t.Fatalf("scripts %q, %v", scripts, err)
	}
	for _, script := range scripts {
		folder := filepath.Dir(script)
		t.Run(folder, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(folder, "certificates.sh")); err == nil {
				need(t, "openssl", "openssl")
			}
			testscript.Run(t, testscript.Params{
				Files:              []string{script},
				RequireUniqueNames: true,
				Setup:              func(env *testscript.Env) error { return setup(t, env, folder) },
				Cmds:               commands,
			})
		})
	}
}

func setup(t *testing.T, env *testscript.Env, folder string) error {
	if err := os.CopyFS(filepath.Join(env.WorkDir, "."), os.DirFS(folder)); err != nil {
		return err
	}
	runtime := filepath.Join(env.WorkDir, ".run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("PORT", strconv.Itoa(proxytest.Port(t)))
	env.Setenv("SENTINEL_RUNTIME_DIR", runtime)
	env.Setenv("PWD", env.WorkDir) // as a shell does
	w := &world{dir: env.WorkDir, env: func() []string { return env.Vars }, programs: map[string]*program{}, backends: map[string]*backend{}}
	env.Values[worldKey{}] = w
	env.Defer(w.end)
	return nil
}
