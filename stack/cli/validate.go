package cli

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate", Short: "Check the configuration without starting anything",
		Long: "validate loads the configuration, looks for the programs it names and has the proxy build it. Exit code 3 when it is invalid.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path := a.config
			if path == "" {
				path, _ = plan.Find()
			}
			h := host()
			h.RuntimeDir, _ = a.chooseRuntimeDir(path)
			p, err := plan.Load(path, h)
			if err != nil {
				return runError(err)
			}
			if p.Warnings != "" {
				fmt.Fprintln(a.err, p.Warnings)
			}
			for _, s := range p.Services {
				if s.Problem != "" {
					return exit(exitInvalid, "%s %s: %s", s.Kind, s.Name, s.Problem)
				}
				if s.Kind != plan.KindProxy {
					continue
				}
				dir, err := os.MkdirTemp("", "sentinel-validate-")
				if err != nil {
					return exit(exitFailure, "%v", err)
				}
				defer os.RemoveAll(dir)
				bundle := filepath.Join(dir, "bundle.json")
				if err := p.WriteBundle(bundle); err != nil {
					return exit(exitFailure, "%v", err)
				}
				if err := daemon.Check(c.Context(), s.Path, "bundle:"+bundle, s.Env, (*osexec.Cmd).Run); err != nil {
					return &exitError{exitInvalid, errors.Join(errors.New("the proxy refuses the configuration"), err)}
				}
			}
			fmt.Fprintf(a.out, "%s is valid, services: %d\n", path, len(p.Services))
			return nil
		},
	}
}
