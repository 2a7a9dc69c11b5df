package cli

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/run"
)

// configCommands are the commands that look at a configuration without serving it.
func configCommands(version string) []*cobra.Command {
	check := func(l *config.Loaded) error {
		return run.Check(context.Background(), l, version, slog.New(slog.NewTextHandler(io.Discard, nil)), os.Getenv)
	}
	return []*cobra.Command{testCommand(check), validateCommand(), inspectCommand(), schemaCommand(), fmtCommand()}
}
