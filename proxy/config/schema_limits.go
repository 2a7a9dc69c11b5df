package config

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// minMemory is the least a Go program starts with; a smaller limit would only be a way to write a service that never runs.
const minMemory = 4 * mib

// processLimitsSchema are the resource limits of one process and what it starts.
func processLimitsSchema() *Key {
	return block("limits", "Limits", "What one instance of the process, with everything it starts, may use. While a replacement runs beside the old instance each has its own limits.",
		value("memory", "Memory", orNone(size(minMemory, 1<<50)), nil, "Memory; more than that and the kernel ends it. Where no cgroup may be written the resident memory is sampled every second. 0 = no limit.").unset("no limit"),
		value("memory-high", "MemoryHigh", orNone(size(minMemory, 1<<50)), nil, "Memory from which on it is slowed down and has to give pages back; needs cgroup v2. 0 = no limit.").unset("no limit"),
		value("cpu", "CPU", percent(100_000), nil, "CPU time, in percent of one CPU: \"50%\", \"200%\". \"0%\" = no limit.").unset("no limit"),
		value("pids", "PIDs", integer(0, 1<<22), nil, "Processes and threads at the same time; a Go program needs about 16. 0 = no limit.").unset("no limit"),
		value("nofile", "NoFile", orNone(integer(16, 1<<30)), nil, "Open files and sockets of one process. 0 = the supervisor's limit.").unset("the supervisor's limit"),
		value("core", "Core", size(0, 1<<50), int64(0), "Size of a core file; it would hold secrets, so there is none by default."),
		value("io-weight", "IOWeight", orNone(integer(1, 10_000)), nil, "Share of the disk beside other groups, 100 is usual; 0 = as the others.").unset("as the others"),
	)
}

// orNone lets 0 say "no limit" although it is below the range of t.
func orNone(t *Type) *Type {
	within := t.parse
	t.parse = func(t *Type, v kdl.Value, unit string) (any, error) {
		if v.Kind == kdl.Int && v.Int == 0 {
			return int64(0), nil
		}
		return within(t, v, unit)
	}
	return t
}

var percentPattern = regexp.MustCompile(`^([0-9]{1,9})%$`)

// percent is a whole number of percent, written with its sign so that nobody takes it for a number of CPUs.
func percent(hi int64) *Type {
	return &Type{Name: "percent", Max: hi, parse: func(t *Type, v kdl.Value, _ string) (any, error) {
		m := percentPattern.FindStringSubmatch(v.Str)
		if v.Kind != kdl.String || m == nil {
			return nil, wrongType(`a percentage as "50%"`, v)
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return n, inRange(n, t.Min, t.Max, func(n int64, _ int) string { return fmt.Sprintf("%d%%", n) })
	}}
}
