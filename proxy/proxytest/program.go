package proxytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// GoProgram finds a program on the path, or installs the package that it is, with its version, into dir. It returns where the program is.
func GoProgram(dir, pkg, name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	install := exec.Command("go", "install", pkg)
	install.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot install %s: %v\n%s", name, err, out)
	}
	return filepath.Join(dir, name), nil
}
