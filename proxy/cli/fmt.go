package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// rewriting is the flags of fmt.
type rewriting struct {
	source
	write bool
	check bool
}

// fmtOutcome is one file of `fmt --format json`.
type fmtOutcome struct {
	File        string             `json:"file"`
	Changed     bool               `json:"changed"`
	Diagnostics config.Diagnostics `json:"diagnostics,omitempty"`
}

// fmtCommand rewrites configuration files into canonical form.
func fmtCommand() *cobra.Command {
	var r rewriting
	c := &cobra.Command{
		Use:   "fmt [-w | --check] [--config FILE] [FILE...]",
		Short: "Rewrite configuration files in canonical layout and spelling",
		Long: `Prints each file in the one layout and with the one spelling of every key; comments stay, and so does the meaning. Files
written in KDL v1 become KDL v2. Included files are not followed: name them. "-" is standard input.

Exit codes: 0 done, or with --check nothing to do; 1 with --check a file would change; 3 a file is not valid KDL.`,
		RunE: func(c *cobra.Command, args []string) error { return r.run(c, args) },
	}
	r.flags(c)
	c.Flags().BoolVarP(&r.write, "write", "w", false, "write the files instead of printing them")
	c.Flags().BoolVar(&r.check, "check", false, "only tell which files would change")
	return c
}

func (r *rewriting) run(c *cobra.Command, files []string) error {
	if err := oneOf(r.format, "text", "json"); err != nil {
		return err
	}
	if r.write && r.check {
		return exitError{exitUsage, errors.New("-w and --check exclude each other")}
	}
	if len(files) == 0 {
		if r.path == "" {
			r.path = config.FindFile()
		}
		files = []string{r.path}
	}
	outcomes := []fmtOutcome{}
	for _, file := range files {
		o, err := r.file(c, file)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, o)
	}
	if r.format == "json" {
		if err := writeJSON(c.OutOrStdout(), outcomes); err != nil {
			return err
		}
	}
	return r.exit(outcomes)
}

func (r *rewriting) exit(outcomes []fmtOutcome) error {
	code := exitOK
	for _, o := range outcomes {
		switch {
		case o.Diagnostics != nil:
			code = exitInvalid
		case o.Changed && r.check && code == exitOK:
			code = exitFailure
		}
	}
	if code != exitOK {
		return exitError{code: code}
	}
	return nil
}

func (r *rewriting) file(c *cobra.Command, file string) (fmtOutcome, error) {
	o := fmtOutcome{File: file}
	text, err := read(c, file)
	if err != nil {
		return o, err
	}
	out, err := config.Format(file, text)
	var invalid config.Diagnostics
	if errors.As(err, &invalid) {
		o.Diagnostics = invalid
		if r.format != "json" {
			fmt.Fprintln(c.ErrOrStderr(), invalid.Error())
		}
		return o, nil
	}
	o.Changed = !bytes.Equal(text, out)
	switch {
	case r.check:
		if o.Changed && r.format != "json" {
			fmt.Fprintln(c.OutOrStdout(), file)
		}
	case r.write && file != "-":
		if o.Changed {
			return o, replace(file, out)
		}
	case r.format != "json":
		_, err := c.OutOrStdout().Write(out)
		return o, err
	}
	return o, nil
}

func read(c *cobra.Command, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read file: %v", err)
	}
	return text, nil
}

// replace writes a file in one step, keeping its permissions: whoever watches it never sees half of it.
func replace(file string, text []byte) (err error) {
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return fmt.Errorf("cannot write file: %v", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("cannot write file: %v", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("cannot write file: %v", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cannot write file: %v", err)
	}
	return nil
}
