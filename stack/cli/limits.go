package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// printLimits shows what is limited and by what. That there are no core files goes without saying.
func printLimits(w io.Writer, services []api.Service) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	head := false
	for _, s := range services {
		for _, l := range s.Limits {
			if l.Name == "core" && l.Value == 0 && l.Why == "" {
				continue
			}
			if !head {
				fmt.Fprintln(w)
				fmt.Fprintln(t, "LIMIT OF\tLIMIT\tVALUE\tENFORCED BY\tNOTE")
				head = true
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, l.Name, l.Text, l.Layer, harmless(l.Why))
		}
	}
	t.Flush()
}
