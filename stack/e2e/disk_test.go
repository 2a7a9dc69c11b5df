package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLogDiskFull: a log disk that is full stops nobody and is told once; when there is room again lines are written again, by themselves.
func TestLogDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	text := strings.Replace(guarded, `stack {`, `observability { logging { access-log { file "`+disk+`/access.log" } } }
stack {
    hook "page" { on "logs-failing" "logs-written"; exec "/bin/cat" }
    service "talker" { command "/bin/sh" "-c" "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done" };`, 1)
	s := newStack(t, text)
	s.must(0, "up", "-d", "--log-dir", filepath.Join(disk, "logs"))
	l := s.load(100)
	file := filepath.Join(disk, "logs", "talker.jsonl")
	lines := func() int { b, _ := os.ReadFile(file); return bytes.Count(b, []byte("\n")) }
	eventually(t, "lines are written", func() bool { return lines() > 10 })
	filler := filepath.Join(disk, "filler")
	fill := func() { // until nothing fits
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 1 << 16; size > 0; size /= 2 {
			for {
				if _, err := f.Write(make([]byte, size)); err != nil {
					break
				}
			}
		}
	}
	count := func(what string) (n int) {
		for _, e := range s.eventsOf() {
			if e.Kind == "logs" && e.To == what {
				n++
			}
		}
		return n
	}
	eventually(t, "it is told that the disk is full", func() bool { fill(); return count("failing") == 1 })
	before := s.pids("proxy", "talker", "echo", "denylist")
	eventually(t, "lines are counted as lost", func() bool {
		fill()
		return regexp.MustCompile(`sentinel_stack_log_dropped_total\{service="talker"\} ([1-9][0-9]{2,})`).MatchString(s.metrics())
	})
	if n := count("failing"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	// What one does then works: commands, restarts, reloads.
	s.must(0, "restart", "echo")
	s.write(strings.Replace(text, "Not here.", "Gone.", 1))
	s.must(0, "reload")
	if c := s.changed(before); len(c) != 1 || !c["echo"] {
		t.Errorf("replaced %v", c)
	}
	if out := s.must(0, "logs", "-n", "1", "talker"); !strings.Contains(out, "line ") {
		t.Errorf("the lines in memory: %s", out)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	was := lines()
	eventually(t, "lines are written again", func() bool { return lines() > was+10 && count("written") == 1 })
	access := func() int64 {
		if info, err := os.Stat(disk + "/access.log"); err == nil {
			return info.Size()
		}
		return 0
	}
	size := access()
	eventually(t, "the access log goes on", func() bool { return access() > size })
	l.stop(nil) // no request was lost
	eventually(t, "the hook is told of both", func() bool {
		_, out := s.run("logs", "hook:page")
		return strings.Contains(out, "logs-failing") && strings.Contains(out, "logs-written")
	})
	if b, _ := os.ReadFile(file); !regexp.MustCompile(`(?s)^(\{[^\n]*\}\n|[^\n]*\n)*$`).Match(b) {
		t.Error("the file does not end with a whole line")
	}
}
