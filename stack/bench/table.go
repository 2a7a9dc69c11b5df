package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

type table struct {
	head []string
	rows []row
}

func (t *table) print(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, strings.Join(t.head, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(out, strings.Join(append([]string{r.peer}, r.cells...), "\t"))
	}
	out.Flush()
}

// quantile is that of a list of times; of few the 99th of a hundred is the longest.
func quantile(list []time.Duration, percent int) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[min(len(list)*percent/100, len(list)-1)]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// percent is a share of one processor.
func percent(ticks int, d time.Duration) string {
	return fmt.Sprintf("%.2f %%", float64(ticks)/d.Seconds())
}
