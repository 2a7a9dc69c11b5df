package main

import (
	"fmt"
	"time"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
	"github.com/sentinel-stack/sentinel/agents/waf/ruleset"
	"github.com/sentinel-stack/sentinel/protocol"
)

// inProcess measures the judgement alone: engine and fast path take turns, so that both see the same machine.
func inProcess(duration time.Duration) (failed bool) {
	set, err := ruleset.New([]byte(`{}`))
	if err != nil {
		return fail("%v", err)
	}
	defer set.Close()
	if set.NoFastPath != nil {
		return fail("no fast path: %v", set.NoFastPath)
	}
	fmt.Println("judging one request, Core Rule Set at paranoia level 1")
	fmt.Printf("%-24s %12s %12s %8s\n", "", "engine", "fast path", "ratio")
	for i := range requests {
		r := &requests[i]
		head := r.head()
		blocked := engine(set, head, r.body)
		if blocked != r.attack {
			failed = fail("%s: blocked is %v", r.name, blocked)
		}
		if skipped := set.Skip(head, []byte(r.body)) == prefilter.Clean; skipped == r.attack {
			failed = fail("%s: the engine is skipped: %v", r.name, skipped)
		}
		slow, fast := turns(duration, func() { engine(set, head, r.body) }, func() { judge(set, head, r.body) })
		ratio := float64(slow) / float64(fast)
		fmt.Printf("%-24s %12s %12s %8.1f\n", r.name, slow, fast, ratio)
		if ratio < r.atLeast {
			failed = fail("%s: %.1f times cheaper with the fast path, at least %.0f is wanted", r.name, ratio, r.atLeast)
		}
	}
	return failed
}

// engine judges a request by the engine alone and tells whether it is refused.
func engine(set *ruleset.Set, head *protocol.RequestHeaders, body string) bool {
	x, refusal := set.Begin(head)
	defer x.Close()
	var err error
	if refusal == nil && body != "" {
		refusal, err = x.Write([]byte(body))
	}
	if refusal == nil && err == nil {
		refusal, err = x.EndRequest()
	}
	return refusal != nil || err != nil
}

// judge judges a request as the agent does.
func judge(set *ruleset.Set, head *protocol.RequestHeaders, body string) bool {
	return set.Skip(head, []byte(body)) != prefilter.Clean && engine(set, head, body)
}

// turns calls two functions in turns for a time and returns what a call of each takes: the mean of its fastest turn, which others on the machine have disturbed least.
func turns(duration time.Duration, a, b func()) (ofA, ofB time.Duration) {
	ofA, ofB = time.Hour, time.Hour
	for end := time.Now().Add(duration); time.Now().Before(end); {
		ofA, ofB = min(ofA, turn(a)), min(ofB, turn(b))
	}
	return ofA, ofB
}

func turn(f func()) time.Duration {
	const long = 30 * time.Millisecond
	began, n := time.Now(), 0
	for time.Since(began) < long {
		f()
		n++
	}
	return time.Since(began) / time.Duration(n)
}
