package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/proxy/bench/load"
	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// job is one load, given to a child process so that the client's memory and threads are not the bench program's.
type job struct {
	Addr, Path  string
	Load        string         // "" plain, "tls" or "handshake"
	Transfer    *load.Transfer // one large body instead
	Connections int
	Rate        float64
	Duration    time.Duration
	Warmup      time.Duration
}

// answer is what one load saw; times in nanoseconds.
type answer struct {
	Requests, All, Non2xx, Failed, Refused uint64
	Bytes                                  uint64
	RPS                                    float64
	ClientCPU                              float64 // processors that the client used
	P50, P99, P999, Max                    time.Duration
	FirstFail                              string
}

func runWorker(arg string) int {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	begin := time.Now()
	res, err := runLoad(j, load.Options{
		Target:      netip.MustParseAddrPort(j.Addr),
		Request:     fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n", j.Path),
		Connections: j.Connections, Rate: j.Rate, Duration: j.Duration, Warmup: j.Warmup,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	a := answer{Requests: res.Requests, All: res.All, Non2xx: res.Non2xx, Failed: res.Failed, Refused: res.Refused, Bytes: res.Bytes, ClientCPU: ownCPU().Seconds() / time.Since(begin).Seconds(), RPS: res.RPS(), FirstFail: res.FirstFail,
		P50: res.Latency.Quantile(.5), P99: res.Latency.Quantile(.99), P999: res.Latency.Quantile(.999), Max: res.Latency.Max()}
	json.NewEncoder(os.Stdout).Encode(a)
	return 0
}

func runLoad(j job, o load.Options) (*load.Result, error) {
	// The certificate is the bench's own: what is measured is a handshake, not trust.
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: "bench.test", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
	switch {
	case j.Transfer != nil:
		return load.RunTransfer(o, *j.Transfer)
	case j.Load == "tls":
		return load.RunTLS(o, conf)
	case j.Load == "handshake":
		return load.RunHandshakes(o, conf)
	}
	return load.Run(o)
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sample is one measurement of one proxy.
type sample struct {
	answer
	cpuPerRequest time.Duration
	peak, rss     int64
}

func measure(p *peer.Peer, j job) (sample, error) {
	arg, err := json.Marshal(j)
	if err != nil {
		return sample{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	before, err := p.Cost()
	if err != nil {
		return sample{}, err
	}
	cmd := exec.Command(self, "-worker-of", string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("load on %s: %v", p.Name, err)
	}
	after, err := p.Cost()
	if err != nil {
		return sample{}, err
	}
	var s sample
	if err := json.Unmarshal(out, &s.answer); err != nil {
		return sample{}, err
	}
	if s.Requests == 0 || s.Failed > 0 || s.Non2xx > 0 || s.Refused > 0 {
		return sample{}, fmt.Errorf("%s: %d answers, %d failed, %d refused, %d not 2xx: %s", p.Name, s.Requests, s.Failed, s.Refused, s.Non2xx, s.FirstFail)
	}
	s.cpuPerRequest = (after.CPU - before.CPU) / time.Duration(s.All)
	s.peak, s.rss = after.Peak, after.RSS
	return s, nil
}
