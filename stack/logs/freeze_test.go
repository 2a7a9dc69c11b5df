package logs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func texts(s *Store, service string) []string {
	var list []string
	for _, l := range s.Query(&Filter{Services: []string{service}}, -1) {
		list = append(list, l.Text)
	}
	return list
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestFreeze hands a pipe in the middle of a line from one store to another; a third goes on when nothing came of it.
func TestFreeze(t *testing.T) {
	s := newStore(t, Options{Dir: t.TempDir()})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Attach("web", "stdout", r)
	fmt.Fprint(w, "one\ntwo\nthr")
	until(t, "two lines", func() bool { return len(texts(s, "web")) == 2 })
	pipes, rings, err := s.Freeze()
	if err != nil || len(pipes) != 1 {
		t.Fatalf("%v %v", pipes, err)
	}
	fmt.Fprint(w, "ee\nfour\n")
	time.Sleep(20 * time.Millisecond)
	if got := texts(s, "web"); len(got) != 2 {
		t.Errorf("a frozen store reads: %q", got)
	}

	next := newStore(t, Options{})
	next.Restore(rings)
	if err := next.Resume(pipes[0]); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipes[0].FD)
	want := []string{"one", "two", "three", "four"}
	until(t, "all lines", func() bool { return slices.Equal(texts(next, "web"), want) })
	if lines, _ := next.Totals("web"); lines != 4 {
		t.Errorf("%d lines", lines)
	}

	s.Thaw() // as if the other had not been
	fmt.Fprint(w, "ee\nfive\n")
	until(t, "somebody reads", func() bool { return len(texts(s, "web"))+len(texts(next, "web")) >= 7 })
	w.Close()
	next.Close()
	s.Close()
}

// TestSpool: what a service writes to a file is read, the room is given back, and a reader that dies is continued where it was.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	spool, fd, err := NewSpool(dir, "web.1", "web", "stdout")
	if err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(fd), "w")
	defer w.Close()
	s := newStore(t, Options{RingBytes: 64 << 20})
	s.Tail(spool)
	const n = 20000
	for i := range n {
		fmt.Fprintf(w, "line %d %s\n", i, strings.Repeat("x", 50))
	}
	fmt.Fprint(w, "half")
	until(t, "all lines", func() bool { return len(texts(s, "web")) == n })
	var st unix.Stat_t
	until(t, "the room is given back", func() bool {
		return unix.Stat(spool.Path, &st) == nil && st.Blocks*512 < 200<<10
	})
	if st.Size < n*50 {
		t.Errorf("size %d", st.Size)
	}

	// The reader is gone, the service goes on, another one reads.
	if pipes, _, err := s.Freeze(); err != nil || len(pipes) != 0 {
		t.Fatalf("%v %v", pipes, err)
	}
	fmt.Fprint(w, " and half\nlast\n")
	again, err := OpenSpool(spool.SavedSpool)
	if err != nil {
		t.Fatal(err)
	}
	next := newStore(t, Options{})
	done := next.Tail(again)
	want := []string{"half and half", "last"}
	until(t, "the rest", func() bool { return slices.Equal(texts(next, "web"), want) })
	fmt.Fprint(w, "unfinished")
	again.Finish()
	<-done
	if got := texts(next, "web"); !slices.Equal(got, append(want, "unfinished")) {
		t.Errorf("%q", got)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	next.Close()
	spool.Finish()
	s.Thaw()
	s.Close()
}
