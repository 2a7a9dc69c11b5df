package systemd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ToJournal says whether what is written to f goes straight to the journal, which then takes a level at the beginning of each line (sd-daemon(3)). JOURNAL_STREAM alone does not say so: a
// child whose output is redirected inherits it.
func ToJournal(f *os.File) bool {
	var dev, ino uint64
	if _, err := fmt.Sscanf(os.Getenv("JOURNAL_STREAM"), "%d:%d", &dev, &ino); err != nil {
		return false
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var st unix.Stat_t
	var statErr error
	if err := rc.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &st) }); err != nil || statErr != nil {
		return false
	}
	return uint64(st.Dev) == dev && st.Ino == ino
}

// levels of the journal, by name.
var levels = map[string]int{"debug": 7, "info": 6, "warn": 4, "error": 3}

// Level is the mark of a level at the beginning of a line.
func Level(name string) string {
	n, ok := levels[name]
	if !ok {
		n = levels["info"]
	}
	return fmt.Sprintf("<%d>", n)
}
