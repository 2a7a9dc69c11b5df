// Bench runs sentinel-stack and other supervisors side by side: the same children, killed, crashing, flooding and idling under each of them in turn.
//
//	go run ./stack/bench -sentinel bin [-scenarios restart,idle] [-only runit] [-kills 15]
//
// What is printed are figures of one run on one machine; compare the rows, not the numbers of different runs. A supervisor that is not installed is named and left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childVar makes this program a child instead, see child.go.
const childVar = "STACK_BENCH_CHILD"

func main() {
	if mode := os.Getenv(childVar); mode != "" {
		child(mode)
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "child" { // supervisors that clear the environment
		child(os.Args[2])
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	programs string // directory of sentinel-stack and sentinel
	self     string // this program
	dir      string
	kills    int
	seconds  time.Duration // of scenarios that watch
	children int
	last     *running
}

// row is what one supervisor did in a scenario.
type row struct {
	peer  string
	cells []string
}

// scenario is one comparison.
type scenario struct {
	name, about string
	columns     []string
	run         func(*bench, *peer) ([]string, error)
}

var scenarios = []scenario{
	{"restart", "a child is killed (SIGKILL) again and again, each time after it has lived for longer than a second: from the kill to the first line of the next one, and to its first answer", []string{"exec p50", "exec p99", "answers p50", "answers p99"}, restart},
	{"outage", "the same proxy is killed under 200 requests a second, half of them on connections of their own", []string{"requests", "failed", "longest without an answer"}, outage},
	{"crash-loop", "twenty children that end at once, beside one that does not", []string{"starts each", "CPU of the supervisor", "the other one restarted"}, crashLoop},
	{"flood", "a child writes lines as fast as it can", []string{"MB/s", "longest write", "memory of the supervisor"}, flood},
	{"death", "the supervisor is killed (SIGKILL): how many of its children are alive a second later", []string{"children", "alive"}, death},
	{"stop", "thirty children that end when asked are stopped", []string{"time", "left"}, stop},
	{"idle", "thirty children that do nothing", []string{"memory", "processes", "CPU", "wake-ups/s"}, idle},
}

func run() error {
	b := &bench{children: 30}
	only := flag.String("only", "", "supervisors to run, with commas between; all that are installed when empty")
	which := flag.String("scenarios", "", "scenarios to run, with commas between; all when empty")
	flag.StringVar(&b.programs, "sentinel", "bin", "directory of sentinel-stack and sentinel")
	flag.IntVar(&b.kills, "kills", 15, "how often a child is killed")
	flag.DurationVar(&b.seconds, "for", 10*time.Second, "how long supervisors are watched")
	flag.Parse()
	var err error
	if b.programs, err = filepath.Abs(b.programs); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "stack-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // whoever loses its supervisor comes to us
		return fmt.Errorf("cannot become the one who finds orphans: %v", err)
	}
	defer endAll()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		endAll()
		os.RemoveAll(b.dir)
		os.Exit(1)
	}()
	peers, err := b.peers(*only)
	if err != nil {
		return err
	}
	return b.compare(peers, *which)
}

func (b *bench) peers(only string) (list []*peer, err error) {
	for _, p := range allPeers(b) {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		if _, err := exec.LookPath(p.program); err != nil {
			fmt.Printf("%s is not installed (%s) and left out\n", p.name, p.program)
			continue
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no supervisor to run")
	}
	return list, nil
}

func (b *bench) compare(peers []*peer, which string) error {
	for _, s := range scenarios {
		if which != "" && !slices.Contains(strings.Split(which, ","), s.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.about)
		t := table{head: append([]string{""}, s.columns...)}
		for _, p := range peers {
			if s.name == "death" || !p.keep {
				cells, err := s.run(b, p)
				b.last.ask(15 * time.Second)
				if err != nil {
					cells = []string{"failed: " + err.Error()}
				}
				t.rows = append(t.rows, row{p.name, cells})
			}
			endAll()
			b.last.forget()
		}
		t.print(os.Stdout)
	}
	return nil
}
