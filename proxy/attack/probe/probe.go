// Package probe runs the attack files of proxy/testdata/attack, attacks and innocent twins, against Sentinel, nginx and HAProxy as Debian packages them, in
// one run, and prints side by side what each did. What the suite expects is Sentinel's own policy: where a peer differs, it may do so rightly by its own.
// Its test is the program: `make probe`.
package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/attack"
)

// fewest is how many turns a run must have; a run with less shows nothing.
const fewest = 150

// options say what is probed, and how.
type options struct {
	sentinel string // the program
	files    string // folder of the attack files
	only     []string
	shards   int           // turns under way at the same time in each proxy, each with a listener and a backend of its own
	quiet    time.Duration // a connection on which nothing comes for so long is taken to be open
	differ   bool          // print only turns in which the proxies did not all do the same
}

// turn is one attack or twin, and what each proxy did with it.
type turn struct {
	*attack.Turn
	rule    string
	answers bool // it is what the upstream sends
	did     []outcome
}

// run prints what every proxy did, and returns how often Sentinel did something else than the suite expects.
func run(o options) (missed int, err error) {
	begin := time.Now()
	turns, err := loadTurns(o)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "sentinel-probe-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	for _, name := range o.only {
		if err := probe(o, dir, name, turns); err != nil {
			return 0, fmt.Errorf("%s: %v", name, err)
		}
	}
	printTurns(o, turns)
	printSummary(o, turns)
	fmt.Printf("%d turns, %d proxies, %.0f s\n", len(turns), len(o.only), time.Since(begin).Seconds())
	if i := slices.Index(o.only, "sentinel"); i >= 0 {
		for _, t := range turns {
			if !t.did[i].expected {
				missed++
			}
		}
	}
	return missed, nil
}

func loadTurns(o options) (all []*turn, err error) {
	for _, kind := range []string{"request", "answer"} {
		cases, err := attack.Load(filepath.Join(o.files, kind+"-*.txt"))
		if err != nil {
			return nil, err
		}
		for _, c := range cases {
			for i := range c.Turns {
				all = append(all, &turn{Turn: &c.Turns[i], rule: c.Name, answers: kind == "answer", did: make([]outcome, len(o.only))})
			}
		}
	}
	if len(all) < fewest {
		return nil, fmt.Errorf("only %d turns in %s, want at least %d", len(all), o.files, fewest)
	}
	return all, nil
}

// probe runs all turns through one proxy, side by side in its shards.
func probe(o options, dir, name string, turns []*turn) error {
	shards, stop, err := startProxy(o, dir, name)
	defer stop()
	if err != nil {
		return err
	}
	column := slices.Index(o.only, name)
	next := make(chan *turn)
	var work sync.WaitGroup
	for _, s := range shards {
		work.Go(func() {
			for t := range next {
				if t.answers {
					t.did[column] = s.answer(t.Turn)
				} else {
					t.did[column] = s.request(t.Turn)
				}
			}
		})
	}
	for _, t := range turns {
		next <- t
	}
	close(next)
	work.Wait()
	return nil
}
