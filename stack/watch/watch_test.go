package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func watcher(t *testing.T, files, globs []string) chan struct{} {
	t.Helper()
	calls := make(chan struct{}, 100)
	w := New(func() { calls <- struct{}{} }, func(s string) { t.Log(s) })
	t.Cleanup(w.Close)
	w.Set(files, globs, Digest(files, globs))
	return calls
}

func mustChange(t *testing.T, calls chan struct{}) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(5 * time.Second):
		t.Fatal("the change was not noticed")
	}
}

func mustNotChange(t *testing.T, calls chan struct{}) {
	t.Helper()
	select {
	case <-calls:
		t.Fatal("a change was reported where there is none")
	case <-time.After(3 * Debounce):
	}
}

func TestWaysOfWriting(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(t *testing.T, file string)
	}{
		{"truncate and write", func(t *testing.T, f string) { write(t, f, "new") }},
		{"rename over", func(t *testing.T, f string) {
			write(t, f+".tmp", "new")
			if err := os.Rename(f+".tmp", f); err != nil {
				t.Fatal(err)
			}
		}},
		{"backup and create, as vim does", func(t *testing.T, f string) {
			os.Rename(f, f+"~")
			write(t, f, "new")
			os.Remove(f + "~")
		}},
		{"remove and create", func(t *testing.T, f string) { os.Remove(f); write(t, f, "new") }},
		{"in pieces", func(t *testing.T, f string) {
			h, _ := os.Create(f)
			for i := range 5 {
				fmt.Fprint(h, i)
				time.Sleep(10 * time.Millisecond)
			}
			h.Close()
		}},
		{"append", func(t *testing.T, f string) {
			h, _ := os.OpenFile(f, os.O_APPEND|os.O_WRONLY, 0)
			h.WriteString("x")
			h.Close()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := filepath.Join(t.TempDir(), "a.kdl")
			write(t, f, "old")
			calls := watcher(t, []string{f}, nil)
			tt.edit(t, f)
			mustChange(t, calls)
			mustNotChange(t, calls) // one change, one call
			write(t, f+".other", "noise")
			if b, _ := os.ReadFile(f); len(b) > 0 {
				write(t, f, string(b)) // the same content again
			}
			mustNotChange(t, calls)
			tt.edit(t, f) // the watch survived the first edit
			write(t, f, "newest")
			mustChange(t, calls)
		})
	}
}

func TestSymlinkSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		os.Mkdir(filepath.Join(dir, v), 0o755)
		write(t, filepath.Join(dir, v, "a.kdl"), v)
	}
	data, f := filepath.Join(dir, "..data"), filepath.Join(dir, "a.kdl")
	os.Symlink("v1", data)
	os.Symlink("..data/a.kdl", f)
	calls := watcher(t, []string{f}, nil)
	os.Symlink("v2", data+"_tmp")
	if err := os.Rename(data+"_tmp", data); err != nil {
		t.Fatal(err)
	}
	mustChange(t, calls)
}

func TestNewFileOfAGlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	calls := watcher(t, nil, []string{filepath.Join(dir, "*.kdl")})
	write(t, filepath.Join(dir, "b.txt"), "x")
	mustNotChange(t, calls)
	write(t, filepath.Join(dir, "b.kdl"), "x")
	mustChange(t, calls)
}

func TestChangeBetweenReadingAndSetIsNoticed(t *testing.T) {
	t.Parallel()
	f := filepath.Join(t.TempDir(), "a.kdl")
	write(t, f, "old")
	digest := Digest([]string{f}, nil)
	write(t, f, "new")
	calls := make(chan struct{}, 10)
	w := New(func() { calls <- struct{}{} }, func(s string) { t.Log(s) })
	t.Cleanup(w.Close)
	w.Set([]string{f}, nil, digest)
	mustChange(t, calls)
}

func TestStormEndsInFewCalls(t *testing.T) {
	t.Parallel()
	f := filepath.Join(t.TempDir(), "a.kdl")
	write(t, f, "old")
	calls := watcher(t, []string{f}, nil)
	began := time.Now()
	for i := range 300 {
		write(t, f, fmt.Sprint(i))
		time.Sleep(2 * time.Millisecond)
	}
	mustChange(t, calls)
	n := 1
	for quiet := false; !quiet; {
		select {
		case <-calls:
			n++
		case <-time.After(3 * Debounce):
			quiet = true
		}
	}
	if took := time.Since(began); n > int(took/Debounce)+1 {
		t.Errorf("%d calls in %v", n, took)
	}
}

// A log file that is written all the time in the same directory must not keep an edit waiting: its events do not count.
func TestOnlyNamedFilesConcern(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "s.kdl")
	write(t, filepath.Join(dir, "real.kdl"), "x")
	if err := os.Symlink("real.kdl", conf); err != nil {
		t.Fatal(err)
	}
	w := New(func() {}, func(string) {})
	t.Cleanup(w.Close)
	files, globs := []string{conf}, []string{filepath.Join(dir, "conf.d", "*.kdl")}
	w.Set(files, globs, Digest(files, globs))
	for name, want := range map[string]bool{"s.kdl": true, "real.kdl": true, "conf.d/a.kdl": true, "access.log": false, "s.kdl.swp": false, "conf.d/a.txt": false, ".": true} {
		if got := w.concerns(filepath.Join(dir, name)); got != want {
			t.Errorf("an event at %s concerns: %v, want %v", name, got, want)
		}
	}
}

// TestNoiseBesideTheFileDelaysNothing: logs often stand in the directory of the configuration.
func TestNoiseBesideTheFileDelaysNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, log := filepath.Join(dir, "a.kdl"), filepath.Join(dir, "access.log")
	write(t, f, "old")
	calls := watcher(t, []string{f}, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				os.WriteFile(log, fmt.Append(nil, i), 0o644)
			}
		}
	}()
	time.Sleep(2 * Debounce)
	began := time.Now()
	write(t, f+".new", "new")
	if err := os.Rename(f+".new", f); err != nil {
		t.Fatal(err)
	}
	mustChange(t, calls)
	took := time.Since(began)
	close(stop)
	<-done
	t.Logf("noticed after %v", took)
	if took > 2*time.Second { // on a quiet machine it is the debounce and a millisecond
		t.Errorf("noticed after %v", took)
	}
}
