package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is what the kernel tells of one.
type process struct {
	pid, parent int
	zombie      bool
	ticks       int // of a hundredth of a second
	program     string
}

func processes() map[int]process {
	all := map[int]process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		_, after, ok := strings.Cut(string(text), ") ")
		if err != nil || !ok {
			continue
		}
		f := strings.Fields(after)
		parent, _ := strconv.Atoi(f[1])
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		program, _ := os.Readlink(filepath.Join(dir, "exe"))
		all[pid] = process{pid: pid, parent: parent, zombie: f[0] == "Z" || f[0] == "X", ticks: user + system, program: program}
	}
	return all
}

// started holds the numbers of processes that exec.Cmd waits for.
var started sync.Map

// below are the living descendants of a process.
func below(root int) (list []process) {
	all := processes()
	for _, p := range all {
		for up, n := p.parent, 0; up > 1 && n < 100; n++ {
			if up == root {
				if !p.zombie {
					list = append(list, p)
				}
				break
			}
			up = all[up].parent
		}
	}
	return list
}

// endAll kills everything this program has started, until nothing is left.
func endAll() {
	for range 200 {
		left := below(os.Getpid())
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		bury()
		time.Sleep(10 * time.Millisecond)
	}
}

// bury reaps the orphans that came to us; those that were started here are waited for elsewhere.
func bury() {
	for pid, p := range processes() {
		if _, ours := started.Load(pid); p.parent == os.Getpid() && p.zombie && !ours {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// supervisors are the processes of a supervisor that are not its services: itself, its helpers and their loggers. The proxy is one of sentinel-stack's services.
func (b *bench) supervisors(r *running) (list []process) {
	for _, p := range append(below(r.cmd.Process.Pid), processes()[r.cmd.Process.Pid]) {
		if p.program != b.self && p.program != filepath.Join(b.programs, "sentinel") {
			list = append(list, p)
		}
	}
	return list
}

// usage sums over processes: memory that is theirs (proportional, in bytes), ticks, and voluntary switches.
func usage(list []process) (memory int64, ticks, switches int) {
	all := processes()
	for _, p := range list {
		dir := "/proc/" + strconv.Itoa(p.pid)
		memory += 1024 * int64(number(dir+"/smaps_rollup", "Pss"))
		ticks += all[p.pid].ticks
		tasks, _ := filepath.Glob(dir + "/task/*/status")
		for _, t := range tasks {
			switches += number(t, "voluntary_ctxt_switches")
		}
	}
	return memory, ticks, switches
}

// number is the first number behind a field of a file of /proc.
func number(file, field string) int {
	text, _ := os.ReadFile(file)
	_, after, ok := strings.Cut("\n"+string(text), "\n"+field+":")
	if !ok {
		return 0
	}
	n, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
	return n
}
