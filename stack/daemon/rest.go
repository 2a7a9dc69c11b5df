package daemon

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rest gives back what only a start needed: a supervisor that has nothing to do collects no garbage for hours, and most of its program is never looked at again.
func rest() {
	go func() {
		debug.FreeOSMemory()
		for _, m := range ownPages() {
			// The pages are as they are in the file: what is needed again comes from the page cache.
			unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
		}
	}()
}

type mapping struct{ start, end uintptr }

// ownPages are the mappings of this program's file that nobody can write to and nobody has written to: those of a relocated program may differ from the file and are left alone.
func ownPages() (clean []mapping) {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	f, err := os.Open("/proc/self/smaps") // proc_pid_smaps(5)
	if err != nil {
		return nil
	}
	defer f.Close()
	var m mapping
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			m = mapping{}
			if p := fields[1]; fields[5] == own && (p == "r-xp" || p == "r--p") {
				m = parseRange(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && m.start < m.end:
			clean = append(clean, m)
		}
	}
	return clean
}

// parseRange reads addresses as in "400000-4a1000"; what is none is empty.
func parseRange(text string) mapping {
	from, to, _ := strings.Cut(text, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil {
		return mapping{}
	}
	return mapping{uintptr(start), uintptr(end)}
}
