package lists

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, f *File) ([]string, error) {
	t.Helper()
	var got []string
	err := f.Read(func(line []byte) error {
		if strings.HasPrefix(string(line), "bad") {
			return errors.New("is bad")
		}
		got = append(got, string(line))
		return nil
	})
	return got, err
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	for _, c := range []struct{ name, text, want string }{
		{"plain", "a\nb\n", "a|b"},
		{"no final newline", "a\nb", "a|b"},
		{"comments and blanks", "# head\n\n  a  # why\n\t#b\nc#d\n", "a|c#d"},
		{"crlf and byte order mark", "\xef\xbb\xbfa\r\nb\r\n", "a|b"},
		{"empty", "", ""},
	} {
		write(t, path, c.text)
		got, err := read(t, New(path, DefaultLimits))
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestReadReportsLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, "ok\nbad1\n\n# x\nbad2\nok2\n")
	got, err := read(t, New(path, DefaultLimits))
	if want := path + ":2: is bad\n" + path + ":5: is bad"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if !slices.Equal(got, []string{"ok", "ok2"}) {
		t.Errorf("got %q", got)
	}
	write(t, path, strings.Repeat("bad\n", 25))
	if _, err = read(t, New(path, DefaultLimits)); err == nil || !strings.HasSuffix(err.Error(), "15 more bad lines") {
		t.Errorf("error %v, want the first 10 and a count", err)
	}
}

func TestReadLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	limits := Limits{FileBytes: 64, LineBytes: 16}
	write(t, path, strings.Repeat("x", 16)+"\r\nok\n")
	if got, err := read(t, New(path, limits)); err != nil || len(got) != 2 {
		t.Errorf("a line of just the limit: %q, %v", got, err)
	}
	for name, text := range map[string]string{"line": "ok\n" + strings.Repeat("x", 18) + "\n", "file": strings.Repeat("ok\n", 30)} {
		write(t, path, text)
		if _, err := read(t, New(path, limits)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("long %s: error %v", name, err)
		}
	}
	for name, bad := range map[string]string{"directory": dir, "missing": filepath.Join(dir, "none")} {
		if _, err := read(t, New(bad, limits)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, New(fifo, limits)); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("pipe: error %v", err)
	}
}

// TestChanged steps a clock of its own; the file system's stamps are real.
func TestChanged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, "a\n")
	f := New(path, DefaultLimits)
	if _, err := read(t, f); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	look := func(step string, want bool) {
		t.Helper()
		now = now.Add(time.Second)
		if got, err := f.Changed(now); err != nil || got != want {
			t.Fatalf("%s: Changed = %v, %v; want %v", step, got, err, want)
		}
	}
	look("unchanged", false)

	write(t, path, "b\n") // same size, in place, perhaps the same stamp
	look("first look at a rewrite", false)
	look("second look at a rewrite", true)
	if got, err := read(t, f); err != nil || got[0] != "b" {
		t.Fatalf("read %q, %v", got, err)
	}
	look("read", false)

	write(t, path, "half")
	look("being written", false)
	write(t, path, "half and half\n")
	look("still being written", false)
	look("written", true)
	_, _ = read(t, f)

	write(t, path+".new", "c\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	look("replaced", true)
	_, _ = read(t, f)

	later := now.Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	look("touched", false)
}

func TestChangedMissing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, "a\n")
	f := New(path, DefaultLimits)
	if _, err := read(t, f); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := f.Changed(now); err == nil {
		t.Fatal("a file that is gone is not an error")
	}
	if _, err := f.Changed(now.Add(time.Second)); err != nil {
		t.Fatalf("reported twice: %v", err)
	}
	write(t, path+"2", "b\n")
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Changed(now.Add(2 * time.Second)); err != nil || !got {
		// The file system may give the new file the inode of the old one; then it takes a second look.
		if got, err = f.Changed(now.Add(3 * time.Second)); err != nil || !got {
			t.Fatalf("a file that is back: Changed = %v, %v", got, err)
		}
	}
}

// TestChangedBackAsItWas: a list of several files may have been refused because this one was missing, so its return is news even with the old content.
func TestChangedBackAsItWas(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, "a\n")
	f := New(path, DefaultLimits)
	if _, err := read(t, f); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Changed(now); err == nil {
		t.Fatal("no error")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Changed(now.Add(time.Second)); err != nil || !got {
		t.Errorf("Changed = %v, %v", got, err)
	}
	if _, err := read(t, f); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Changed(now.Add(2 * time.Second)); err != nil || got {
		t.Errorf("after reading: Changed = %v, %v", got, err)
	}
}

// TestBadFileReportedOnce: after a reading that failed, the same content is not news.
func TestBadFileReportedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, strings.Repeat("x", 100)+"\nmore\n")
	f := New(path, Limits{FileBytes: 1000, LineBytes: 10})
	if _, err := read(t, f); err == nil {
		t.Fatal("no error")
	}
	if got, err := f.Changed(time.Now().Add(time.Second)); got || err != nil {
		t.Errorf("Changed = %v, %v after reading the bad file", got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("a\nb # c\r\n#d\n"))
	f.Add([]byte("\xef\xbb\xbf\n\x00\n \t\n"))
	f.Add([]byte(strings.Repeat("x", 40)))
	path := filepath.Join(f.TempDir(), "list")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = New(path, Limits{FileBytes: 1000, LineBytes: 32}).Read(func(line []byte) error {
			if len(line) == 0 || len(line) > 34 || line[0] == '#' || strings.ContainsAny(string(line), "\n") || strings.TrimSpace(string(line)) != string(line) {
				t.Errorf("entry %q", line)
			}
			return nil
		})
	})
}
