package cli

import (
	"context"
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
			report, broken := p.Problems()
			if report != "" {
				fmt.Fprintln(a.err, report)
			}
			if broken {
				return &exitError{code: exitInvalid}
			}
			if err := checkWithProxy(c.Context(), p); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is valid, services: %d\n", path, len(p.Services))
			return nil
		},
	}
}

// checkWithProxy has the program that would serve the configuration build it.
func checkWithProxy(ctx context.Context, p *plan.Plan) error {
	proxy := p.Proxy()
	dir, err := os.MkdirTemp("", "sentinel-validate-")
	if err != nil {
		return exit(exitFailure, "%v", err)
	}
	defer os.RemoveAll(dir)
	bundle := filepath.Join(dir, "bundle.json")
	if err := p.WriteBundle(bundle); err != nil {
		return exit(exitFailure, "%v", err)
	}
	if err := daemon.Check(ctx, proxy.Path, "bundle:"+bundle, proxy.Env, (*osexec.Cmd).Run); err != nil {
		return &exitError{exitInvalid, errors.Join(errors.New("the proxy refuses the configuration"), err)}
	}
	return nil
}
