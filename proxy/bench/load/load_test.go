package load

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramQuantiles(t *testing.T) {
	t.Parallel()
	var h Histogram
	all := make([]time.Duration, 50_000)
	for i := range all {
		all[i] = time.Duration(rand.ExpFloat64() * float64(300*time.Microsecond))
		h.Add(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		want, got := all[int(q*float64(len(all)))], h.Quantile(q)
		if got < want || float64(got) > 1.02*float64(want)+64 {
			t.Errorf("quantile %v = %v, want %v (at most 2 %% above)", q, got, want)
		}
	}
	if h.Total() != uint64(len(all)) || h.Max() != all[len(all)-1] {
		t.Errorf("total %d max %v, want %d %v", h.Total(), h.Max(), len(all), all[len(all)-1])
	}
}

func runAgainst(t *testing.T, h http.HandlerFunc, o Options) *Result {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o.Target = netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "http://"))
	o.Request = []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestClosedLoopCountsAnswers(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("y", 300<<10) // larger than the client's buffer
	res := runAgainst(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "307200")
		w.Write([]byte(body))
	}, Options{Connections: 4, Duration: 300 * time.Millisecond})
	if res.Requests == 0 || res.Failed != 0 || res.Non2xx != 0 {
		t.Fatalf("%d answers, %d failed (%s), %d not 2xx", res.Requests, res.Failed, res.FirstFail, res.Non2xx)
	}
	if res.Bytes < res.Requests*uint64(len(body)) {
		t.Errorf("%d bytes for %d answers of %d", res.Bytes, res.Requests, len(body))
	}
}

func TestClosedLoopCountsRefusals(t *testing.T) {
	t.Parallel()
	res := runAgainst(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, Options{Connections: 2, Duration: 100 * time.Millisecond})
	if res.Requests == 0 || res.Non2xx != res.Requests {
		t.Errorf("%d of %d answers counted as not 2xx", res.Non2xx, res.Requests)
	}
}

// A server that stalls once must show the stall in every request that was due meanwhile, though only few could be sent.
func TestOpenLoopChargesForStalls(t *testing.T) {
	t.Parallel()
	var first bool
	stall := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(stall) })
	res := runAgainst(t, func(w http.ResponseWriter, _ *http.Request) {
		if !first {
			first = true
			<-stall
		}
	}, Options{Connections: 1, Rate: 200, Duration: 600 * time.Millisecond})
	if slow := res.Latency.Quantile(0.7); slow < 20*time.Millisecond {
		t.Errorf("70 %% quantile is %v: requests due during a 300 ms stall were not charged", slow)
	}
	if res.Failed != 0 {
		t.Errorf("%d failed: %s", res.Failed, res.FirstFail)
	}
}
