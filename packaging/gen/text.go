package main

import (
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// textPage is a command that exists only to be printed: its long text are Markdown files without their first headings. The printer puts
// a Long text into its DESCRIPTION section, so the files' own headings go one level down.
func textPage(use, short string, files ...string) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, DisableAutoGenTag: true, DisableFlagsInUseLine: true}
	var parts []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			// A page that says where to look is better than none: packages must have a page for each program.
			c.Long = short + "."
			return c
		}
		parts = append(parts, pageText(string(raw)))
	}
	c.Long = strings.Join(parts, "\n\n")
	return c
}

// relativeLink is a link into the repository, which leads nowhere from a manual page.
var relativeLink = regexp.MustCompile(`\[([^\]]+)\]\((?:[^):]*)\)`)

// pageText makes Markdown fit for a terminal of 80 columns: tables, which the printer cannot break, become lists.
func pageText(markdown string) string {
	lines := strings.Split(markdown, "\n")
	var out []string
	fenced := false
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		switch {
		case fenced:
			out = append(out, line)
		case strings.HasPrefix(line, "# "):
		case strings.HasPrefix(line, "#"):
			out = append(out, "#"+line)
		case strings.HasPrefix(line, "|"):
			// The row before the rule holds the titles.
			if isRule(line) || i+1 < len(lines) && isRule(lines[i+1]) {
				continue
			}
			out = append(out, tableItem(line))
		default:
			out = append(out, relativeLink.ReplaceAllString(line, "$1"))
		}
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

// isRule tells the line of dashes below a table's titles.
func isRule(line string) bool {
	return strings.HasPrefix(line, "|") && strings.Trim(line, "|-: ") == "" && strings.Contains(line, "-")
}

// tableItem turns a row into a list item: its first cell, then the others.
func tableItem(row string) string {
	const hidden = "\x00" // an escaped bar inside a cell
	row = strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, hidden)
	var cells []string
	for _, c := range strings.Split(row, "|") {
		if c = strings.TrimSpace(c); c != "" {
			cells = append(cells, c)
		}
	}
	return strings.ReplaceAll("* "+strings.Join(cells, " · "), hidden, "|") + "\n"
}
