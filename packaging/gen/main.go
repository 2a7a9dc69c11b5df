// Command gen writes what the packages ship beside the programs: manual pages and shell completions from the command trees, manual
// pages of the agents and of the configuration file from their README and reference page, and the licences of the linked modules.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func main() {
	out := flag.String("out", "", "folder to write to")
	version := flag.String("version", "dev", "version for the manual pages")
	epoch := flag.Int64("epoch", 0, "date of the manual pages, seconds since 1970")
	flag.Parse()
	if err := generate(*out, *version, time.Unix(*epoch, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(out, version string, date time.Time) error {
	if out == "" {
		return fmt.Errorf("-out is missing")
	}
	for _, root := range trees(version) {
		root.InitDefaultHelpCmd()
		root.DisableAutoGenTag = true
		if err := manual(root, filepath.Join(out, "man/stack/man1"), "1", version, date); err != nil {
			return err
		}
		if err := completions(root, filepath.Join(out, "completions")); err != nil {
			return err
		}
	}
	if err := agentManuals(filepath.Join(out, "man/agents/man8"), version, date); err != nil {
		return err
	}
	page := textPage("sentinel.kdl", "the configuration file of Sentinel", "docs/configuration.md", "docs/reference/config.md")
	if err := manual(page, filepath.Join(out, "man/stack/man5"), "5", version, date); err != nil {
		return err
	}
	return licences(filepath.Join(out, "doc/third-party-licenses"))
}

// manual writes one page for a command and each of its subcommands.
func manual(root *cobra.Command, dir, section, version string, date time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	header := &doc.GenManHeader{Section: section, Date: &date, Source: "Sentinel " + version, Manual: "Sentinel manual"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("cannot write manual of %s: %w", root.Name(), err)
	}
	return nil
}

func completions(root *cobra.Command, dir string) error {
	name := root.Name()
	for path, write := range map[string]func(string) error{
		"bash/" + name:           func(p string) error { return root.GenBashCompletionFileV2(p, true) },
		"zsh/_" + name:           root.GenZshCompletionFile,
		"fish/" + name + ".fish": func(p string) error { return root.GenFishCompletionFile(p, true) },
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := write(path); err != nil {
			return fmt.Errorf("cannot write completion %s: %w", path, err)
		}
	}
	return nil
}

// agentManuals turns the README of each agent into its page in section 8.
func agentManuals(dir, version string, date time.Time) error {
	mains, err := filepath.Glob("agents/*/main.go")
	if err != nil || len(mains) == 0 {
		return fmt.Errorf("no agents found: run gen from the top of the repository")
	}
	for _, m := range mains {
		name := filepath.Base(filepath.Dir(m))
		page := textPage("sentinel-"+name+" [--socket PATH] [--config-json FILE] [--log-level LEVEL]", "the "+name+" agent of Sentinel", filepath.Join(filepath.Dir(m), "README.md"))
		if err := manual(page, dir, "8", version, date); err != nil {
			return err
		}
	}
	return manual(textPage("sentinel-conformance [flags] --socket PATH | -- COMMAND ARGS", "tests an agent against the protocol", "protocol/conformance/README.md"), dir, "8", version, date)
}
