// Command soak runs a whole stack under mixed traffic while faults are injected, and ends with status 1 when a bound is broken: too many failed requests
// outside the faults, or memory, goroutines or descriptors that grew.
//
//	go run ./proxy/bench/soak -bin bin -for 15m
//
// It has two halves. In the first one agents, targets and the proxy fail, and the configuration is reloaded. Then the load rests and what every process
// holds is noted. In the second half the proxy is left alive, so that what it loses adds up; then the load rests again and the two are compared.
// Reloads are no excuse: a request that fails during one counts.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

type options struct {
	bin         string
	duration    time.Duration
	minRequests uint64
	minSuccess  float64 // percent
	workers     int     // clients of a kind with weight 1
	seed        uint64
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flag.DurationVar(&o.duration, "for", 15*time.Minute, "how long load is sent")
	flag.Uint64Var(&o.minRequests, "min-requests", 0, "requests that must be made")
	flag.Float64Var(&o.minSuccess, "min-success", 99.99, "percent of the requests outside faults that must succeed")
	flag.IntVar(&o.workers, "workers", 2, "clients for each kind of traffic; kept connections with small requests have four times as many")
	flag.Uint64Var(&o.seed, "seed", 1, "of the order of the faults")
	flag.Parse()
	if o.duration < 30*time.Second {
		fmt.Fprintln(os.Stderr, "soak: -for must be 30s or more")
		os.Exit(2)
	}
	broken, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	for _, b := range broken {
		fmt.Println("BROKEN:", b)
	}
	if len(broken) > 0 {
		os.Exit(1)
	}
	fmt.Println("all bounds hold")
}

// rest is how long nothing is sent before the stack is looked at: longer than upstream connections stay idle.
const rest = 6 * time.Second

func run(o options) (broken []string, err error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	targets, err := startTargets(3)
	defer func() {
		for _, t := range targets {
			t.close()
		}
	}()
	if err != nil {
		return nil, err
	}
	s, err := startStack(o, dir, targets)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	raw, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load average of the machine before: %s", raw)
	l := newLedger()
	var held [2]map[string]usage
	for half := range held {
		stopLoad := startLoad(o, s, l)
		err := injectFaults(o, s, l, targets, o.duration/2, half == 0)
		stopLoad()
		if err != nil {
			return nil, fmt.Errorf("%v\n%s", err, s.tail())
		}
		time.Sleep(rest)
		if held[half], err = s.usage(); err != nil {
			return nil, err
		}
		fmt.Printf("half %d is over: %d requests so far\n", half+1, l.total())
	}
	raw, _ = os.ReadFile("/proc/loadavg")
	fmt.Printf("load average of the machine after: %s", raw)
	broken = l.judge(o)
	return append(broken, judgeUsage(held[0], held[1])...), nil
}
