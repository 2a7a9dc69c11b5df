package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// source is the flags of every command that reads a configuration.
type source struct {
	path   string
	format string
}

// flags adds --config and --format to a command.
func (s *source) flags(c *cobra.Command) {
	c.Flags().StringVarP(&s.path, "config", "c", os.Getenv("SENTINEL_CONFIG"), "configuration file (also $SENTINEL_CONFIG)")
	c.Flags().StringVar(&s.format, "format", "text", "text or json")
}

// load reads the configuration and checks --format.
func (s *source) load() (*config.Loaded, error) {
	if err := oneOf(s.format, "text", "json"); err != nil {
		return nil, err
	}
	if s.path == "" {
		s.path = config.FindFile()
	}
	return config.Load(s.path, config.Options{})
}

func oneOf(format string, valid ...string) error {
	for _, v := range valid {
		if format == v {
			return nil
		}
	}
	return exitError{exitUsage, fmt.Errorf("unknown --format %q: one of %v", format, valid)}
}

// verdict is what test and validate print with --format json.
type verdict struct {
	OK          bool               `json:"ok"`
	Config      string             `json:"config"`
	Hash        string             `json:"hash,omitempty"`
	Files       []string           `json:"files,omitempty"`
	Diagnostics config.Diagnostics `json:"diagnostics"`
}

// judge prints the outcome of a check: findings to standard error as text, or everything to standard output as JSON. The error
// carries the exit code.
func (s *source) judge(c *cobra.Command, l *config.Loaded, err error) error {
	if exit, ok := err.(exitError); ok {
		return exit
	}
	v := verdict{OK: err == nil, Config: s.path, Diagnostics: config.Diagnostics{}}
	if l != nil {
		v.Hash, v.Files = l.Hash, l.Files
		v.Diagnostics = append(v.Diagnostics, l.Warnings...)
	}
	switch found := err.(type) {
	case nil:
	case config.Diagnostics:
		v.Diagnostics = append(v.Diagnostics, found...)
	default:
		v.Diagnostics = append(v.Diagnostics, config.Diagnostic{File: s.path, Severity: config.SeverityError, Code: "build", Message: err.Error()})
	}
	if s.format == "json" {
		if err := writeJSON(c.OutOrStdout(), v); err != nil {
			return err
		}
	} else {
		s.sayText(c, v)
	}
	if !v.OK {
		return exitError{code: exitInvalid}
	}
	return nil
}

func (s *source) sayText(c *cobra.Command, v verdict) {
	for _, d := range v.Diagnostics {
		fmt.Fprintln(c.ErrOrStderr(), d.Render())
	}
	if v.OK {
		fmt.Fprintf(c.OutOrStdout(), "%s: configuration is valid%s\n", s.path, count(len(v.Diagnostics), "warning"))
		return
	}
	errors := 0
	for _, d := range v.Diagnostics {
		if d.Severity == config.SeverityError {
			errors++
		}
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: configuration is invalid%s\n", s.path, count(errors, "error"))
}

func count(n int, noun string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 " + noun
	}
	return fmt.Sprintf(", %d %ss", n, noun)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
