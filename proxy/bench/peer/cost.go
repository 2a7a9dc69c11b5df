package peer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Cost is what a process group has used.
type Cost struct {
	CPU  time.Duration // user + system
	Peak int64         // bytes, sum of VmHWM: pages that processes share are counted once for each
	RSS  int64         // bytes now
}

// groupCost sums over every process of the group pgid.
func groupCost(pgid int) (Cost, error) {
	var c Cost
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return c, err
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if len(fields) < 13 || fields[2] != strconv.Itoa(pgid) {
			continue
		}
		user, _ := strconv.Atoi(fields[11])
		sys, _ := strconv.Atoi(fields[12])
		c.CPU += time.Duration(user+sys) * clockTick
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		c.Peak += statusBytes(status, "VmHWM:")
		c.RSS += statusBytes(status, "VmRSS:")
	}
	if c.RSS == 0 {
		return c, fmt.Errorf("no process in group %d", pgid)
	}
	return c, nil
}

func statusBytes(status []byte, key string) int64 {
	_, rest, ok := bytes.Cut(status, []byte(key))
	if !ok {
		return 0
	}
	n, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
	return n << 10
}

// RSS is what one process has in memory, in bytes.
func RSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return statusBytes(status, "VmRSS:"), nil
}
