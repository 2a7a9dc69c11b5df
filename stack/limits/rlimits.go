package limits

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

var resources = map[string]int{NoFile: unix.RLIMIT_NOFILE, Core: unix.RLIMIT_CORE}

// Rlimits are those of s that a process is started with, none above what this supervisor may give.
func Rlimits(s Set) []shim.Limit {
	var out []shim.Limit
	for _, l := range s.all() {
		if r, ok := resources[l.Name]; ok {
			out = append(out, shim.Limit{Name: l.Name, Resource: uint32(r), Value: min(uint64(l.Value), ceiling(l.Name))})
		}
	}
	return out
}

// ceiling is the highest hard limit this process may set.
func ceiling(name string) uint64 {
	var own unix.Rlimit
	if unix.Getrlimit(resources[name], &own) != nil {
		return unix.RLIM_INFINITY
	}
	if !mayRaise() {
		return own.Max
	}
	if name == NoFile {
		text, _ := os.ReadFile("/proc/sys/fs/nr_open")
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			return n
		}
	}
	return unix.RLIM_INFINITY
}

// mayRaise says whether this process may set hard limits above its own.
func mayRaise() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func clampWhy(name string, value int64) string {
	if most := ceiling(name); uint64(value) > most {
		return fmt.Sprintf("lowered to %d, which is the most this supervisor may give", most)
	}
	return ""
}
