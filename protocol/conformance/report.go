package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Outcomes of a check.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

// Result is what came of one check.
type Result struct {
	Name     string   `json:"name"`
	Section  string   `json:"section"`
	About    string   `json:"about"`
	Outcome  string   `json:"outcome"`
	Problems []string `json:"problems,omitempty"` // or why it was skipped
	Millis   int64    `json:"duration_ms"`
}

// Report is what came of all of them.
type Report struct {
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	Results []Result `json:"results"`
}

// Add counts a result.
func (r *Report) Add(one Result) {
	r.Results = append(r.Results, one)
	switch one.Outcome {
	case Passed:
		r.Passed++
	case Failed:
		r.Failed++
	default:
		r.Skipped++
	}
}

// Text writes the report for people: a line a check, the problems of a failed one below it.
func (r *Report) Text(w io.Writer) error {
	for _, one := range r.Results {
		if _, err := fmt.Fprintf(w, "%-7s §%-3s %s\n", one.Outcome, one.Section, one.Name); err != nil {
			return err
		}
		if one.Outcome == Failed {
			fmt.Fprintf(w, "        the rule: %s\n", one.About)
		}
		for _, p := range one.Problems {
			fmt.Fprintf(w, "        %s\n", p)
		}
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.Passed, r.Failed, r.Skipped)
	return err
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Try runs one check against an agent without the testing package.
func (c Check) Try(a *Agent) Result {
	began := time.Now()
	result := Result{Name: c.Name, Section: c.Section, About: c.About, Outcome: Passed}
	if c.Stops && a.Stop == nil {
		result.Outcome, result.Problems = Skipped, []string{"only for an agent that is started by this program"}
		return result
	}
	r := new(recorder)
	done := make(chan struct{})
	go func() { // of its own, because Fatal ends the goroutine
		defer close(done)
		defer r.clean()
		c.Run(r, a)
	}()
	<-done
	if result.Millis = time.Since(began).Milliseconds(); len(r.problems) > 0 {
		result.Outcome, result.Problems = Failed, r.problems
	}
	return result
}

// maxProblems is how many problems of one check are kept.
const maxProblems = 10

// recorder is the T of Try.
type recorder struct {
	mu       sync.Mutex // guards everything below
	problems []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// clean calls the cleanups, the last first.
func (r *recorder) clean() {
	r.mu.Lock()
	all := r.cleanups
	r.cleanups = nil
	r.mu.Unlock()
	for _, f := range slices.Backward(all) {
		f()
	}
}
