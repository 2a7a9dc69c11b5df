package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVar makes the test program a service of its own tests instead.
const childVar = "E2E_CHILD"

// pour is a service that writes as fast as it can, by way of "lines", "long" (lines of a megabyte), "binary" or "endless" (no end of a line at all). Every tenth of a second it notes what it has written, and the longest write.
func pour(way, note string) {
	chunk := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"), 1000)
	switch way {
	case "long":
		chunk = append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	case "binary":
		for i := range chunk {
			chunk[i] = byte(i * 7)
		}
	case "endless":
		chunk = bytes.Repeat([]byte("x"), 64000)
	}
	var total, lines int
	var longest time.Duration
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	save := func() {
		_ = os.WriteFile(note+".new", fmt.Appendf(nil, "%d %d %d\n", total, lines, longest), 0o600)
		_ = os.Rename(note+".new", note)
	}
	for last := time.Now(); ; {
		select {
		case <-end:
			save()
			os.Exit(0)
		default:
		}
		began := time.Now()
		n, err := os.Stdout.Write(chunk)
		longest = max(longest, time.Since(began))
		total += n
		lines += bytes.Count(chunk[:n], []byte("\n"))
		if err != nil {
			os.Exit(9)
		}
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			save()
		}
	}
}

// TestLogFlood: services that write without end are never stopped by it, the supervisor keeps what it has room for, and what its files lose is counted. FLOOD says for how long; with that the longest write is held
// against 50 ms.
func TestLogFlood(t *testing.T) {
	watched, strict := watching(t, "FLOOD", time.Second)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"lines", "long", "binary", "endless"} {
		t.Run(way, func(t *testing.T) {
			s := newStack(t, plain+fmt.Sprintf("stack { service \"pourer\" { command %q; env { %s \"pour:%s:DIR/note\" } } }\n", self, childVar, way))
			s.up()
			pid := s.status().PID
			before := measure(t, pid).rss
			read := func() (total, lines int, longest time.Duration) {
				b, _ := os.ReadFile(filepath.Join(s.dir, "note"))
				f := append(strings.Fields(string(b)), "0", "0", "0")
				total, _ = strconv.Atoi(f[0])
				lines, _ = strconv.Atoi(f[1])
				ns, _ := strconv.Atoi(f[2])
				return total, lines, time.Duration(ns)
			}
			eventually(t, "it pours", func() bool { total, _, _ := read(); return total > 1<<20 })
			began, first := time.Now(), func() int { n, _, _ := read(); return n }()
			time.Sleep(watched)
			if code, body, err := s.get("/"); code != 200 || err != nil {
				t.Errorf("meanwhile: %d %s %v", code, body, err)
			}
			total, lines, longest := read()
			grown := measure(t, pid).rss - before
			t.Logf("%s: %.0f MB/s, %d lines, longest write %v, the supervisor grew by %d MB", way, float64(total-first)/1e6/time.Since(began).Seconds(), lines, longest, grown>>10)
			if total == first || grown > 48<<10 || strict && longest > 50*time.Millisecond {
				t.Error("it was blocked, or the supervisor has grown by more than 48 MB")
			}
			if v := s.service("pourer"); v.State != "ready" || v.Restarts != 0 {
				t.Errorf("%s, %d restarts", v.State, v.Restarts)
			}
			s.must(0, "stop", "pourer")
			if out := s.must(0, "logs", "-n", "1", "pourer"); !strings.Contains(out, "pourer") {
				t.Errorf("its lines: %.200s", out)
			}
		})
	}
}

// TestLostLinesAreCountedExactly: of a flood with log files every line is in the file or counted as lost.
func TestLostLinesAreCountedExactly(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, plain+fmt.Sprintf("stack { service \"pourer\" { command %q; env { %s \"pour:lines:DIR/note\" } } }\n", self, childVar))
	logs := filepath.Join(s.dir, "logs")
	s.must(0, "up", "-d", "--log-dir", logs)
	eventually(t, "it pours", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.dir, "note"))
		n, _ := strconv.Atoi(strings.Fields(string(b) + " 0 0")[1])
		return n > 200_000
	})
	s.must(0, "stop", "pourer")
	b, _ := os.ReadFile(filepath.Join(s.dir, "note"))
	written, _ := strconv.ParseUint(strings.Fields(string(b) + " 0 0")[1], 10, 64)
	kept := func() (n uint64) {
		text, _ := os.ReadFile(filepath.Join(logs, "pourer.jsonl"))
		return uint64(bytes.Count(text, []byte("\n")))
	}
	eventually(t, "every line is in the file or counted", func() bool { return kept()+s.service("pourer").LogDropped == written })
	if written < 100_000 {
		t.Errorf("%d lines are no flood", written)
	}
	t.Logf("%d lines written, %d in the file, %d counted as lost", written, kept(), s.service("pourer").LogDropped)
}
