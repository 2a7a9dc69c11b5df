package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCutter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLine)
	tests := []struct {
		name string
		in   string
		want []string
	}{
		{"lines", "a\nb\n", []string{"a", "b"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"empty lines stay", "\n\na\n", []string{"", "", "a"}},
		{"carriage return", "a\r\n", []string{"a"}},
		{"exactly the cap", long + "\nb\n", []string{long, "b"}},
		{"one over the cap", long + "y\nb\n", []string{long + Continued, Continued + "y", "b"}},
		{"twice the cap", long + long + "y\n", []string{long + Continued, Continued + long + Continued, Continued + "y"}},
		{"binary", "a\xff\x00b\n", []string{"a\uFFFD\x00b"}},
		{"a rune across the cut", strings.Repeat("x", MaxLine-1) + "é\n", []string{strings.Repeat("x", MaxLine-1) + Continued, Continued + "é"}},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 7, 4096, 1 << 20} {
			if size == 1 && len(tt.in) > 1000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				var got []string
				c := cutter{limit: MaxLine}
				for in := tt.in; in != ""; {
					n := min(size, len(in))
					c.feed([]byte(in[:n]), func(l string) { got = append(got, l) })
					in = in[n:]
				}
				c.flush(func(l string) { got = append(got, l) })
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got %d lines, want %d", len(got), len(tt.want))
				}
			})
		}
	}
}

// FuzzCutter: however the stream is split, the same lines come out, none longer than the cap, and nothing of valid text is lost.
func FuzzCutter(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), 1)
	f.Add([]byte(strings.Repeat("é", 40)), 3)
	f.Add([]byte("x\xff\xfe\n"+strings.Repeat("y", 21)+"\nend"), 1000)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		const limit = 16
		size = 1 + (size&0x7fffffff)%100
		cutBy := func(size int) (lines []string) {
			c := cutter{limit: limit}
			for p := in; len(p) > 0; {
				n := min(size, len(p))
				c.feed(p[:n], func(l string) { lines = append(lines, l) })
				p = p[n:]
			}
			c.flush(func(l string) { lines = append(lines, l) })
			return lines
		}
		whole, pieces := cutBy(len(in)+1), cutBy(size)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			t.Fatalf("split into %d bytes the stream gives other lines:\n%q\n%q", size, whole, pieces)
		}
		for _, l := range whole {
			if len(l) > 3*limit+2*len(Continued) { // U+FFFD may triple broken bytes
				t.Fatalf("line of %d bytes", len(l))
			}
		}
		text := strings.TrimSuffix(strings.ReplaceAll(string(in), "\r", ""), "\n")
		if utf8.Valid(in) && !strings.Contains(text, Continued) && !strings.Contains(string(in), "\r") {
			if got := strings.ReplaceAll(strings.Join(whole, "\n"), Continued+"\n"+Continued, ""); got != text {
				t.Fatalf("lost:\n%q\n%q", text, got)
			}
		}
	})
}

func TestRingIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{RingBytes: 10_000})
	r, w := io.Pipe()
	done := s.Attach("a", "stdout", r)
	for i := range 5000 {
		fmt.Fprintf(w, "line %d\n", i)
	}
	w.Close()
	<-done
	got := s.Query(&Filter{}, -1)
	lines, evicted := s.Totals("a")
	if lines != 5000 || uint64(len(got))+evicted != lines {
		t.Errorf("lines %d, evicted %d, in memory %d", lines, evicted, len(got))
	}
	if got[len(got)-1].Text != "line 4999" || len(got) > 10_000/lineOverhead {
		t.Errorf("%d lines, last %q", len(got), got[len(got)-1].Text)
	}
	s.Close()
}

func TestFloodNeverBlocksTheWriterAndCountsWhatAFollowerLoses(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, sub := s.Follow(&Filter{}, 0) // never read until the end: the slowest follower there is
	done := s.Attach("flood", "stdout", pr)
	const n = 200_000
	w := bufio.NewWriter(pw)
	text := strings.Repeat("z", 200)
	began := time.Now()
	for range n {
		w.WriteString(text)
		w.WriteByte('\n')
	}
	w.Flush()
	pw.Close()
	<-done
	t.Logf("%d MB drained in %v", n*201>>20, time.Since(began))
	s.Note("info", "end")
	delivered, lost := uint64(0), uint64(0)
	for range followQueue {
		l, ok := sub.Next(context.Background())
		if !ok {
			t.Fatal("subscription ended")
		}
		delivered, lost = delivered+1, lost+l.Dropped
	}
	s.Note("info", "after")
	l, _ := sub.Next(context.Background())
	if l.Text != "after" || delivered+lost+l.Dropped != n+1 {
		t.Errorf("delivered %d, lost %d+%d, sum want %d; last %q", delivered, lost, l.Dropped, n+1, l.Text)
	}
	sub.Cancel()
	s.Close()
}

func TestFollowHasNoGapAndNoLineTwice(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	r, w := io.Pipe()
	done := s.Attach("a", "stdout", r)
	const n = 2000
	go func() {
		for i := range n {
			fmt.Fprintf(w, "%d\n", i)
		}
		w.Close()
	}()
	for { // follow in the middle of the stream
		if lines, _ := s.Totals("a"); lines > n/10 {
			break
		}
	}
	past, sub := s.Follow(&Filter{}, -1)
	next := 0
	check := func(l api.LogLine) {
		if l.Text != fmt.Sprint(next) || l.Dropped != 0 {
			t.Fatalf("got %q dropped %d, want %d", l.Text, l.Dropped, next)
		}
		next++
	}
	for _, l := range past {
		check(l)
	}
	for next < n {
		l, ok := sub.Next(context.Background())
		if !ok {
			t.Fatal("ended early")
		}
		check(l)
	}
	<-done
	s.Close()
	if _, ok := sub.Next(context.Background()); ok {
		t.Error("a line after the end")
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1000, 0)
	s := newStore(t, Options{Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	s.Note("info", `{"request_id":"ab1","path":"/x"}`)
	s.Note("error", `{"request_id":"ab12","path":"/y"}`)
	s.Note("info", "plain")
	tests := []struct {
		name string
		q    api.LogQuery
		want int
	}{
		{"all", api.LogQuery{}, 3},
		{"request is a whole word", api.LogQuery{Request: "ab1"}, 1},
		{"grep", api.LogQuery{Grep: `path":"/[xy]`}, 2},
		{"since", api.LogQuery{Since: time.Unix(1003, 0)}, 1},
		{"other service", api.LogQuery{Services: []string{"proxy"}}, 0},
		{"named service", api.LogQuery{Services: []string{"proxy", StackService}}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := NewFilter(tt.q)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Query(f, -1); len(got) != tt.want {
				t.Errorf("got %d lines, want %d", len(got), tt.want)
			}
		})
	}
	if _, err := NewFilter(api.LogQuery{Grep: "("}); err == nil {
		t.Error("a broken expression is accepted")
	}
	if got := s.Query(&Filter{}, 2); len(got) != 2 || got[1].Text != "plain" {
		t.Errorf("the last two: %v", got)
	}
	s.Close()
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"time":"x","level":"ERROR","msg":"y"}`: "error",
		`time=x level=warn msg=y`:                "warn",
		`{"level":"WARNING"}`:                    "warn",
		`panic: boom`:                            "error",
		`no level at all`:                        "info",
		`{"level":"fancy"}`:                      "info",
	} {
		if got := levelOf(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestFilesAreReopenedAndSurviveALostDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	s := newStore(t, Options{Dir: dir})
	name := filepath.Join(dir, "stack.jsonl")
	s.Note("info", "one")
	waitFor(t, func() bool { return fileLines(name) == 1 })
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	waitFor(t, func() bool { s.Note("info", "two"); return fileLines(name) > 0 })
	var l api.LogLine
	b, _ := os.ReadFile(name + ".1")
	if err := json.Unmarshal(b, &l); err != nil || l.Text != "one" {
		t.Errorf("first file holds %q, %v", b, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	waitFor(t, func() bool { s.Note("info", "lost"); return s.Dropped(StackService) > 0 })
	s.Close()
}

func fileLines(name string) int {
	b, _ := os.ReadFile(name)
	return strings.Count(string(b), "\n")
}

// waitFor polls cond, which the code under test makes true on its own goroutine.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if cond() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("condition never became true")
}

// A disk that was full in the middle of a line must not spoil the next one.
func TestATornLineIsEndedFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := openFiles(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	name := filepath.Join(dir, "a.jsonl")
	if err := os.WriteFile(name, []byte(`{"text":"cut o`), 0o600); err != nil {
		t.Fatal(err)
	}
	open := &logFile{torn: true}
	for _, text := range []string{"one", "two"} {
		if !f.write(open, api.LogLine{Service: "a", Text: text}) {
			t.Fatal("not written")
		}
	}
	open.f.Close()
	raw, _ := os.ReadFile(name)
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	if len(lines) != 3 || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("%q", lines)
	}
}
