package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

//go:embed init.kdl
var initialConfig []byte

func (a *app) initCommand() *cobra.Command {
	force := false
	c := &cobra.Command{
		Use: "init [FILE]", Short: "Write a first configuration file",
		Long: "init writes a small commented configuration to ./sentinel.kdl, or to the file named. An existing file is left alone unless --force is given.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "sentinel.kdl"
			if len(args) > 0 {
				path = args[0]
			}
			how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
			if force {
				how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
			}
			f, err := os.OpenFile(path, how, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return exit(exitFailure, "%s exists already (--force overwrites it)", path)
			}
			if err == nil {
				_, err = f.Write(initialConfig)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				return exit(exitFailure, "cannot write configuration: %v", err)
			}
			fmt.Fprintf(a.out, "wrote %s; start it with 'sentinel-stack up'\n", path)
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "overwrite an existing file")
	return c
}
