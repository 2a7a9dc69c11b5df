package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// window is the time of one fault, until what it did is over; what was under way during it counts apart.
type window struct{ begin, end time.Time }

// tally counts the requests of one kind.
type tally struct{ all, failed, inFault, failedInFault uint64 }

// ledger counts every request, and knows when faults were.
type ledger struct {
	mu      sync.Mutex // guards the rest
	windows []*window
	kinds   map[string]*tally
	shown   []string // the first failures outside faults
	faults  map[string]int
}

func newLedger() *ledger { return &ledger{kinds: map[string]*tally{}, faults: map[string]int{}} }

// fault notes that a fault begins. Its end is noted by calling end, and excuses what is under way until grace later.
func (l *ledger) fault(name string, grace time.Duration) (end func()) {
	w := &window{begin: time.Now(), end: time.Now().Add(24 * time.Hour)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults[name]++
	l.windows = append(l.windows, w)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		w.end = time.Now().Add(grace)
	}
}

// happened notes something that is no excuse.
func (l *ledger) happened(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults[name]++
}

// request notes one request; err says why it failed.
func (l *ledger) request(kind string, began time.Time, err error) {
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.kinds[kind]
	if t == nil {
		t = &tally{}
		l.kinds[kind] = t
	}
	t.all++
	excused := false
	for _, w := range slices.Backward(l.windows) {
		if w.end.Before(began.Add(-time.Minute)) {
			break // those before it are older
		}
		excused = excused || began.Before(w.end) && ended.After(w.begin)
	}
	if excused {
		t.inFault++
	}
	switch {
	case err == nil:
	case excused:
		t.failedInFault++
	default:
		t.failed++
		if len(l.shown) < 10 {
			l.shown = append(l.shown, fmt.Sprintf("%s at %s, took %s: %v", kind, began.Format("15:04:05.000"), ended.Sub(began).Round(time.Millisecond), err))
		}
	}
}

func (l *ledger) total() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.kinds {
		n += t.all
	}
	return n
}

// judge prints the counts and says which bounds are broken.
func (l *ledger) judge(o options) (broken []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum tally
	fmt.Printf("\n%-18s %10s %15s %15s %18s\n", "traffic", "requests", "failed", "during faults", "failed in faults")
	for _, kind := range slices.Sorted(maps.Keys(l.kinds)) {
		t := l.kinds[kind]
		fmt.Printf("%-18s %10d %15d %15d %18d\n", kind, t.all, t.failed, t.inFault, t.failedInFault)
		sum.all, sum.failed = sum.all+t.all, sum.failed+t.failed
		sum.inFault, sum.failedInFault = sum.inFault+t.inFault, sum.failedInFault+t.failedInFault
		if t.all == t.inFault {
			broken = append(broken, kind+": no request outside faults, nothing was shown")
		}
	}
	fmt.Printf("%-18s %10d %15d %15d %18d\nfaults:", "all", sum.all, sum.failed, sum.inFault, sum.failedInFault)
	for _, name := range slices.Sorted(maps.Keys(l.faults)) {
		fmt.Printf(" %s %d,", name, l.faults[name])
	}
	outside := sum.all - sum.inFault
	success := 0.0
	if outside > 0 {
		success = 100 * float64(outside-sum.failed) / float64(outside)
	}
	fmt.Printf(" success outside faults %.4f %%, bound %.4f %%\n", success, o.minSuccess)
	for _, s := range l.shown {
		fmt.Println("failed outside faults:", s)
	}
	if success < o.minSuccess {
		broken = append(broken, fmt.Sprintf("success outside faults %.4f %%", success))
	}
	if sum.all < o.minRequests {
		broken = append(broken, fmt.Sprintf("%d requests, want %d", sum.all, o.minRequests))
	}
	return broken
}

// How much more a process may hold after the second half than after the first.
const (
	rssShare   = 1.25
	rssSlack   = 16 << 20
	countSlack = 20 // goroutines, descriptors
)

func judgeUsage(before, after map[string]usage) (broken []string) {
	fmt.Printf("\nat rest, after the first and the second half (bounds: rss x %.2f + %d MiB, goroutines and fds + %d)\n", rssShare, rssSlack>>20, countSlack)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		a, b := before[name], after[name]
		fmt.Printf("%-10s rss %.1f -> %.1f MiB, goroutines %s -> %s, fds %d -> %d\n", name, float64(a.rss)/(1<<20), float64(b.rss)/(1<<20), known(a.goroutines), known(b.goroutines), a.fds, b.fds)
		if float64(b.rss) > rssShare*float64(a.rss)+rssSlack {
			broken = append(broken, name+": memory grew")
		}
		if a.goroutines >= 0 && b.goroutines > a.goroutines+countSlack {
			broken = append(broken, name+": goroutines grew")
		}
		if b.fds > a.fds+countSlack {
			broken = append(broken, name+": descriptors grew")
		}
		if b.pid == 0 {
			broken = append(broken, name+": not there at the end")
		}
		if (name == "proxy" || name == "stack") && a.pid != b.pid {
			broken = append(broken, fmt.Sprintf("%s: died in the second half, where it was left alive (process %d, then %d)", name, a.pid, b.pid))
		}
	}
	return broken
}

// known writes a number that only the proxy tells.
func known(n int) string {
	if n < 0 {
		return "?"
	}
	return strconv.Itoa(n)
}
