package main

import (
	"fmt"
	"slices"
	"time"
)

func median[T any](samples []T, of func(T) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// column is one figure of a report; ratio figures are also printed relative to the peers.
type column struct {
	title string
	of    func(sample) float64
	unit  string
	ratio bool
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

var columns = []column{
	{"cpu/request", func(s sample) float64 { return micros(s.cpuPerRequest) }, "us", true},
	{"requests/s", func(s sample) float64 { return s.RPS }, "", true},
	{"p50", func(s sample) float64 { return micros(s.P50) }, "us", true},
	{"p99", func(s sample) float64 { return micros(s.P99) }, "us", true},
	{"p99.9", func(s sample) float64 { return micros(s.P999) }, "us", true},
	{"peak rss", func(s sample) float64 { return float64(s.peak) / (1 << 20) }, "MiB", true},
}

func report(title string, peers []*peer, all map[string][]sample) {
	fmt.Printf("\n## %s (median of the rounds, min–max in brackets)\n%-10s", title, "")
	for _, c := range columns {
		fmt.Printf(" %24s", c.title)
	}
	fmt.Println()
	for _, p := range peers {
		fmt.Printf("%-10s", p.name)
		for _, c := range columns {
			values := make([]float64, 0, len(all[p.name]))
			for _, s := range all[p.name] {
				values = append(values, c.of(s))
			}
			fmt.Printf(" %24s", fmt.Sprintf("%.1f%s [%.1f–%.1f]", median(all[p.name], c.of), c.unit, slices.Min(values), slices.Max(values)))
		}
		fmt.Println()
	}
	ours := all["sentinel"]
	if ours == nil {
		return
	}
	for _, p := range peers {
		if p.name == "sentinel" {
			continue
		}
		fmt.Printf("%-10s", "/ "+p.name)
		for _, c := range columns {
			fmt.Printf(" %24s", fmt.Sprintf("%.2f x", median(ours, c.of)/median(all[p.name], c.of)))
		}
		fmt.Println()
	}
}

func idle(peers []*peer) {
	fmt.Printf("idle rss:")
	for _, p := range peers {
		c, err := groupCost(p.cmd.Process.Pid)
		if err == nil {
			fmt.Printf("  %s %.1f MiB", p.name, float64(c.rss)/(1<<20))
		}
	}
	fmt.Println()
}
