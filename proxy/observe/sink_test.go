package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// gate is a writer that blocks until it is opened and remembers what it got.
type gate struct {
	open    chan struct{}
	entered chan struct{} // one value per write that begins

	mu   sync.Mutex // guards the rest
	data bytes.Buffer
}

func newGate() *gate { return &gate{open: make(chan struct{}), entered: make(chan struct{}, 1000)} }

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.data.Write(p)
}

// flaky fails a number of times, each time after it took a part of what it was given.
type flaky struct {
	fails int
	part  int
	err   error
	ok    chan struct{} // closed at the first success

	mu   sync.Mutex // guards the rest
	data bytes.Buffer
}

func (f *flaky) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		n := min(f.part, len(p))
		f.data.Write(p[:n])
		return n, f.err
	}
	f.data.Write(p)
	select {
	case <-f.ok:
	default:
		close(f.ok)
	}
	return len(p), nil
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openTest(t *testing.T, o LogOptions) *sink {
	t.Helper()
	s, err := openSinkEvery("test", o, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func line(i int) []byte { return fmt.Appendf(nil, "record %d\n", i) }

func TestSinkWritesEverythingOnClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	m := NewMetrics("test", nil)
	s := openTest(t, LogOptions{File: path, Records: 100_000, Metrics: m})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				s.Write(line(w*1000 + i))
			}
		})
	}
	wg.Wait()
	counters := s.metrics
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for l := range strings.Lines(string(data)) {
		if seen[l] || !strings.HasPrefix(l, "record ") {
			t.Fatalf("line %q is torn or came twice", l)
		}
		seen[l] = true
	}
	if len(seen) != 8000 || counters.Written.Load() != 8000 || counters.Dropped.Load() != 0 {
		t.Errorf("%d lines, counted %d, dropped %d", len(seen), counters.Written.Load(), counters.Dropped.Load())
	}
	s.Write(line(0))
	if counters.Dropped.Load() != 1 {
		t.Error("a record after Close is not counted as dropped")
	}
	if len(m.logList()) != 0 {
		t.Error("a closed log is still exported")
	}
}

func TestSinkDropsAndCountsWhenTheWriterHangs(t *testing.T) {
	t.Parallel()
	g := newGate()
	s := openTest(t, LogOptions{Output: g, Records: 40})
	s.Write(line(0))
	<-g.entered // the writer hangs with the first record
	for i := range 100 {
		s.Write(line(i + 1))
	}
	if got := s.metrics.Dropped.Load(); got != 60 {
		t.Errorf("dropped %d of 100 with room for 40", got)
	}
	close(g.open)
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(g.data.Bytes(), []byte("\n")); n != 41 {
		t.Errorf("%d records written, want 41", n)
	}
}

func TestSinkIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	g := newGate()
	s := openTest(t, LogOptions{Output: g, Records: 1_000})
	s.Write(line(0))
	<-g.entered
	big := append(bytes.Repeat([]byte("x"), 64<<10), '\n')
	for range 500 {
		s.Write(big)
	}
	bound := sinkShards * (minShardSize + len(big)) / len(big)
	if kept := 500 - int(s.metrics.Dropped.Load()); kept > bound {
		t.Errorf("%d records of 64 KiB wait, want at most %d", kept, bound)
	}
	close(g.open)
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func TestSinkRetriesAndTearsNoRecord(t *testing.T) {
	t.Parallel()
	f := &flaky{fails: 3, part: 5, err: syscall.ENOSPC, ok: make(chan struct{})}
	var told []error // by one goroutine, read when it is gone
	s := openTest(t, LogOptions{Output: f, Records: 100, Failing: func(err error) { told = append(told, err) }})
	s.Write(line(1))
	s.Write(line(2))
	select {
	case <-f.ok:
	case <-deadline(t).Done():
		t.Fatal("never retried")
	}
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if got := f.data.String(); got != "record 1\nrecord 2\n" {
		t.Errorf("written %q", got)
	}
	if s.metrics.Errors.Load() != 3 || s.metrics.Dropped.Load() != 0 {
		t.Errorf("errors %d, dropped %d", s.metrics.Errors.Load(), s.metrics.Dropped.Load())
	}
	if len(told) != 2 || !errors.Is(told[0], syscall.ENOSPC) || told[1] != nil {
		t.Errorf("told %v, want the first failure and the recovery", told)
	}
}

func TestSinkSurvivesAFullDisk(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	s := openTest(t, LogOptions{File: "/dev/full", Records: 8})
	for i := range 100 {
		s.Write(line(i))
	}
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if s.metrics.Errors.Load() == 0 || s.metrics.Dropped.Load() != 100 {
		t.Errorf("errors %d, dropped %d of 100", s.metrics.Errors.Load(), s.metrics.Dropped.Load())
	}
}

func TestReopenAfterRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, rotated := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	s := openTest(t, LogOptions{File: path})
	s.Write(line(1))
	if err := os.Rename(path, rotated); err != nil {
		t.Fatal(err)
	}
	if err := s.Reopen(); err != nil {
		t.Fatal(err)
	}
	s.Write(line(2))
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{rotated: "record 1\n", path: "record 2\n"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			t.Errorf("%s holds %q, %v; want %q", name, data, err, want)
		}
	}
	if err := s.Reopen(); !errors.Is(err, errSinkClosed) {
		t.Errorf("reopening a closed log gives %v", err)
	}
}

func TestReopenFailureKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sub")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	s := openTest(t, LogOptions{File: path})
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := s.Reopen(); err == nil {
		t.Error("no error though the directory is gone")
	}
	s.Write(line(1))
	if err := s.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(moved, "log")); string(data) != "record 1\n" {
		t.Errorf("the old file holds %q", data)
	}
}

func TestReopenLeavesTheRestOfATornRecordBehind(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	s := &sink{file: path, metrics: new(LogMetrics)}
	s.fixed = &flaky{fails: 2, part: 6, err: syscall.EIO, ok: make(chan struct{})}
	s.out = s.fixed
	s.taken = []chunk{{buf: []byte("record 1\nrecord 2\nrecord 3\n"), n: 3}}
	if s.write() {
		t.Fatal("the failing write succeeded")
	}
	if err := s.openAgain(); err != nil {
		t.Fatal(err)
	}
	if !s.write() {
		t.Fatal("cannot write to the new file")
	}
	s.closer.Close()
	if data, _ := os.ReadFile(path); string(data) != "record 3\n" {
		t.Errorf("the new file holds %q, want the third record alone", data)
	}
}

func TestCloseGivesUpAtTheDeadline(t *testing.T) {
	t.Parallel()
	g := newGate()
	s := openTest(t, LogOptions{Output: g})
	s.Write(line(1))
	<-g.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(g.open)
	if err := s.Close(deadline(t)); err != nil { // the goroutine ends once the write returns
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	if _, err := OpenAccessLog(LogOptions{File: filepath.Join(t.TempDir(), "no", "such")}, JSON, "", new(Clock)); err == nil ||
		!strings.HasPrefix(err.Error(), "cannot open access log: ") {
		t.Errorf("missing directory: %v", err)
	}
	if _, err := OpenAuditLog(LogOptions{File: "-"}, "", new(Clock)); err == nil {
		t.Error("no output is accepted")
	}
}

func TestRecordsAreWrittenWithoutClose(t *testing.T) {
	t.Parallel()
	g := newGate()
	close(g.open)
	l, err := OpenAccessLog(LogOptions{Output: g}, JSON, "", new(Clock))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if !l.Append(sampleRecord()) {
		t.Fatal("no room in an empty log")
	}
	select {
	case <-g.entered:
	case <-deadline(t).Done():
		t.Fatal("never written")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("written after %v", took)
	}
	if err := l.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	decodeLine(t, g.data.Bytes())
}

func TestLogsDoNotAllocate(t *testing.T) {
	var clock Clock
	l, err := OpenAccessLog(LogOptions{Output: discard{}}, JSON, "i", &clock)
	if err != nil {
		t.Fatal(err)
	}
	audit, err := OpenAuditLog(LogOptions{Output: discard{}}, "i", &clock)
	if err != nil {
		t.Fatal(err)
	}
	access, event := sampleRecord(), &AuditRecord{Event: EventBlocked, RuleIDs: []string{"r"}, Metadata: []Pair{{"a", "b"}}}
	event.Time = access.Time
	for range 10_000 { // chunks in circulation
		l.Append(access)
		audit.Append(event)
	}
	if n := testing.AllocsPerRun(5000, func() { l.Append(access); audit.Append(event) }); n != 0 {
		t.Errorf("%v allocations per two records", n)
	}
	if err := errors.Join(l.Close(deadline(t)), audit.Close(deadline(t))); err != nil {
		t.Fatal(err)
	}
}

func TestErrorLog(t *testing.T) {
	t.Parallel()
	var out flaky
	out.ok = make(chan struct{})
	l, err := OpenErrorLog(LogOptions{Output: &out}, slog.LevelWarn, false)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(l.Handler())
	log.Info("not this")
	log.Warn("target \"x\"\nejected\xff", slog.String("upstream", "web\x1b"), slog.Group("g", slog.Int("msg", 1)))
	l.SetLevel(slog.LevelInfo)
	log.Info("this too")
	if err := l.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(out.data.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("written %q", lines)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	if got["message"] != "target \"x\"\nejected\ufffd" || got["level"] != "WARN" || got["upstream"] != "web\x1b" || got["timestamp"] == nil {
		t.Errorf("got %v", got)
	}
	if g, _ := got["g"].(map[string]any); g["msg"] != 1.0 {
		t.Errorf("a key inside a group was renamed: %v", got["g"])
	}
}

func TestErrorLogText(t *testing.T) {
	t.Parallel()
	var out flaky
	out.ok = make(chan struct{})
	l, err := OpenErrorLog(LogOptions{Output: &out}, slog.LevelDebug, true)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(l.Handler()).Debug("two\nlines", "a", "b\"c")
	if err := l.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if got := out.data.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `message="two\nlines" a="b\"c"`) {
		t.Errorf("written %q", got)
	}
}

func TestAuditLogSkipsEvents(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, err := OpenAuditLog(LogOptions{Output: &out, Skip: []string{EventAgentDecision}}, "i", new(Clock))
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{EventAgentDecision, EventBlocked, EventConfigChange} {
		if !l.Append(&AuditRecord{Time: time.Now(), Event: event}) {
			t.Fatalf("no room for %s", event)
		}
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, EventAgentDecision) || !strings.Contains(got, EventBlocked) || !strings.Contains(got, EventConfigChange) {
		t.Errorf("written:\n%s", got)
	}
}
