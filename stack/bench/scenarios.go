package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// note is the file of a child.
func (b *bench) note(name string) string {
	return filepath.Join(b.dir, fmt.Sprintf("note-%s-%d", name, monotonic()))
}

func (b *bench) child(mode string) []string { return []string{b.self, "child", mode} }

// starts reads the lines of a child's file that tell of starts: numbers and times.
func starts(note string) (pids []int, times []int64) {
	text, _ := os.ReadFile(note)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		pid, err1 := strconv.Atoi(f[0])
		at, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 == nil && err2 == nil {
			pids, times = append(pids, pid), append(times, at)
		}
	}
	return pids, times
}

const patience = 20 * time.Second

func wait(what string, ok func() bool) error {
	for end := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v", what, patience)
		}
	}
	return nil
}

func freePort() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func answers(address string) bool {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == 200
}

func restart(b *bench, p *peer) ([]string, error) {
	note, address := b.note("restart"), freePort()
	r, err := b.start(p, []service{{"child", b.child("serve:" + note + ":" + address)}})
	if err != nil {
		return nil, err
	}
	if err := wait("the child answers", func() bool { return answers(address) }); err != nil {
		return nil, r.failed(err.Error())
	}
	var execs, ready []time.Duration
	for range b.kills {
		time.Sleep(1300 * time.Millisecond) // runit and s6 start a child that lived for less than a second a second later
		pids, _ := starts(note)
		n := len(pids)
		killed := monotonic()
		if err := syscall.Kill(pids[n-1], syscall.SIGKILL); err != nil {
			return nil, err
		}
		if err := wait("it is started again", func() bool { again, _ := starts(note); return len(again) > n }); err != nil {
			return nil, r.failed(err.Error())
		}
		_, times := starts(note)
		execs = append(execs, time.Duration(times[n]-killed))
		if err := wait("it answers again", func() bool { return answers(address) }); err != nil {
			return nil, r.failed(err.Error())
		}
		ready = append(ready, time.Duration(monotonic()-killed))
	}
	return []string{millis(quantile(execs, 50)), millis(quantile(execs, 99)), millis(quantile(ready, 50)), millis(quantile(ready, 99))}, nil
}

// outage: sentinel-stack runs its proxy as it always does, the others run the same program as a service.
func outage(b *bench, p *peer) ([]string, error) {
	address := freePort()
	text := fmt.Sprintf("listeners { listener \"l\" { address %q } }\nroutes { route \"r\" { matches { path-prefix \"/\" }; builtin-handler \"status\" } }\n", address)
	file := filepath.Join(b.dir, "proxy.kdl")
	if err := write(file, text, 0o644); err != nil {
		return nil, err
	}
	proxy := filepath.Join(b.programs, "sentinel")
	q := *p
	services := []service{{"proxy", []string{proxy, "run", "--config", file}}}
	if strings.HasPrefix(p.name, "sentinel-stack") {
		q.prepare = func(dir string, _ []service) ([]string, error) {
			return []string{p.program, "--config", file, "--runtime-dir", filepath.Join(dir, "run"), "up", "--quiet"}, nil
		}
	}
	r, err := b.start(&q, services)
	if err != nil {
		return nil, err
	}
	if err := wait("the proxy answers", func() bool { return answers(address) }); err != nil {
		return nil, r.failed(err.Error())
	}
	l := load(address, 200)
	for range b.kills {
		time.Sleep(1300 * time.Millisecond)
		for _, child := range below(r.cmd.Process.Pid) {
			if child.program == proxy {
				_ = syscall.Kill(child.pid, syscall.SIGKILL)
			}
		}
	}
	time.Sleep(1300 * time.Millisecond)
	return l.stop(), nil
}

// pace asks at a fixed rate.
type pace struct {
	end    chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex
	all    int
	failed int
	good   []time.Duration // when answers came, since the beginning
}

func load(address string, perSecond int) *pace {
	l := &pace{end: make(chan struct{})}
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 10 * time.Second}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	began := time.Now()
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.end:
				return
			case <-tick.C:
			}
			c := kept
			if i%2 == 0 {
				c = fresh
			}
			l.done.Go(func() {
				resp, err := c.Get("http://" + address + "/")
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.all++; err != nil || resp.StatusCode != 200 {
					l.failed++
				} else {
					l.good = append(l.good, time.Since(began))
				}
			})
		}
	})
	return l
}

func (l *pace) stop() []string {
	close(l.end)
	l.done.Wait()
	slices.Sort(l.good)
	var longest time.Duration
	for i := 1; i < len(l.good); i++ {
		longest = max(longest, l.good[i]-l.good[i-1])
	}
	return []string{strconv.Itoa(l.all), strconv.Itoa(l.failed), millis(longest)}
}

func crashLoop(b *bench, p *peer) ([]string, error) {
	calm := b.note("calm")
	services := []service{{"calm", b.child("idle:" + calm)}}
	var notes []string
	for i := range 20 {
		notes = append(notes, b.note(fmt.Sprint("crash", i)))
		services = append(services, service{fmt.Sprintf("c%d", i), b.child("crash:" + notes[i])})
	}
	r, err := b.start(p, services)
	if err != nil {
		return nil, err
	}
	if err := wait("the calm one runs", func() bool { pids, _ := starts(calm); return len(pids) > 0 }); err != nil {
		return nil, r.failed(err.Error())
	}
	_, before, _ := usage(b.supervisors(r))
	began := time.Now()
	time.Sleep(b.seconds)
	_, after, _ := usage(b.supervisors(r))
	least, most := 1<<30, 0
	for _, n := range notes {
		pids, _ := starts(n)
		least, most = min(least, len(pids)), max(most, len(pids))
	}
	restarts, _ := starts(calm)
	return []string{fmt.Sprintf("%d to %d", least, most), percent(after-before, time.Since(began)), strconv.Itoa(len(restarts) - 1)}, nil
}

func flood(b *bench, p *peer) ([]string, error) {
	note := b.note("flood")
	r, err := b.start(p, []service{{"pourer", b.child("flood:" + note)}})
	if err != nil {
		return nil, err
	}
	lines := func() [][]string {
		text, _ := os.ReadFile(note)
		var out [][]string
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == "wrote" {
				out = append(out, f)
			}
		}
		return out
	}
	if err := wait("it writes", func() bool { return len(lines()) > 0 }); err != nil {
		return nil, r.failed(err.Error())
	}
	time.Sleep(b.seconds)
	memory, _, _ := usage(b.supervisors(r))
	all := lines()
	first, last := all[0], all[len(all)-1]
	num := func(s string) float64 { n, _ := strconv.ParseFloat(s, 64); return n }
	speed := (num(last[2]) - num(first[2])) / (num(last[1]) - num(first[1])) * 1e9 / 1e6
	return []string{fmt.Sprintf("%.0f", speed), millis(time.Duration(num(last[3]))), megabytes(memory)}, nil
}

// idlers starts children that do nothing.
func (b *bench) idlers(p *peer) (*running, []string, error) {
	var services []service
	var notes []string
	for i := range b.children {
		notes = append(notes, b.note(fmt.Sprint("idle", i)))
		services = append(services, service{fmt.Sprintf("i%d", i), b.child("idle:" + notes[i])})
	}
	r, err := b.start(p, services)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range notes {
		if err := wait("they run", func() bool { pids, _ := starts(n); return len(pids) > 0 }); err != nil {
			return nil, nil, r.failed(err.Error())
		}
	}
	time.Sleep(3 * time.Second) // what a start leaves to be done is no part of idling
	return r, notes, nil
}

func living(notes []string) (n int) {
	all := processes()
	for _, note := range notes {
		pids, _ := starts(note)
		if p, ok := all[pids[len(pids)-1]]; ok && !p.zombie {
			n++
		}
	}
	return n
}

func death(b *bench, p *peer) ([]string, error) {
	r, notes, err := b.idlers(p)
	if err != nil {
		return nil, err
	}
	before := living(notes)
	_ = r.cmd.Process.Kill()
	<-r.done
	time.Sleep(time.Second)
	return []string{strconv.Itoa(before), strconv.Itoa(living(notes))}, nil
}

func stop(b *bench, p *peer) ([]string, error) {
	r, notes, err := b.idlers(p)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	_ = r.cmd.Process.Signal(p.end)
	gone := wait("all have ended", func() bool { return living(notes) == 0 })
	took := time.Since(began)
	r.ask(10 * time.Second)
	if gone != nil {
		return []string{"-", strconv.Itoa(living(notes))}, nil
	}
	return []string{millis(took), "0"}, nil
}

func idle(b *bench, p *peer) ([]string, error) {
	r, _, err := b.idlers(p)
	if err != nil {
		return nil, err
	}
	list := b.supervisors(r)
	_, ticks, switches := usage(list)
	began := time.Now()
	time.Sleep(2 * b.seconds)
	memory, ticks2, switches2 := usage(list)
	seconds := time.Since(began).Seconds()
	return []string{megabytes(memory), strconv.Itoa(len(list)), percent(ticks2-ticks, time.Since(began)), fmt.Sprintf("%.1f", float64(switches2-switches)/seconds)}, nil
}
