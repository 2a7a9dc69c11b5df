package probe

import (
	"fmt"
	"strings"
)

// classes in the order of the summary.
var classes = []string{refused, forwarded, split, malformed, waiting}

// printTurns prints a row for each turn and a column for each proxy. A star marks what differs from what the suite expects.
func printTurns(o options, turns []*turn) {
	fmt.Printf("%-24s %-6s %-52s", "turn", "", "case")
	for _, name := range o.only {
		fmt.Printf(" %-34s", name)
	}
	fmt.Println()
	for _, t := range turns {
		if o.differ && alike(t.did) {
			continue
		}
		fmt.Printf("%-24s %-6s %-52.52s", strings.Replace(t.Line, ".txt", "", 1), kind(t), t.rule)
		for _, did := range t.did {
			mark := " "
			if !did.expected {
				mark = "*"
			}
			fmt.Printf(" %-34s", mark+did.text)
		}
		fmt.Println()
	}
}

func kind(t *turn) string {
	if t.Twin {
		return "twin"
	}
	return "attack"
}

func alike(did []outcome) bool {
	for _, d := range did[1:] {
		if d.text != did[0].text {
			return false
		}
	}
	return true
}

// printSummary prints a line for each proxy and direction.
func printSummary(o options, turns []*turn) {
	fmt.Printf("\n* differs from what the suite expects, which is the policy of Sentinel: a peer that differs may well be right by its own\nmalformed: what reached the other side is refused there by Sentinel's own strict parser, or by net/http's as a client\n")
	for _, answers := range []bool{false, true} {
		title := "requests, from a client"
		if answers {
			title = "answers, from an upstream"
		}
		fmt.Printf("\n## %s\n", title)
		for i, name := range o.only {
			counts := map[string]int{}
			attacks, stopped, twins, passed := 0, 0, 0, 0
			for _, t := range turns {
				switch did := t.did[i]; {
				case t.answers != answers:
				case t.Twin:
					twins++
					if did.expected {
						passed++
					}
				default:
					attacks++
					counts[did.class]++
					if did.expected {
						stopped++
					}
				}
			}
			fmt.Printf("%-10s %d attacks:", name, attacks)
			for _, class := range classes {
				fmt.Printf(" %s %d,", class, counts[class])
			}
			fmt.Printf(" as expected %d; %d twins: as expected %d\n", stopped, twins, passed)
		}
	}
}
