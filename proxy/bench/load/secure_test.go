package load

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func secureServer(t *testing.T, h http.HandlerFunc) (Options, *tls.Config) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	target := netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "https://"))
	return Options{Target: target, Request: []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Connections: 3, Duration: 200 * time.Millisecond}, &tls.Config{InsecureSkipVerify: true}
}

func TestTLSCountsAnswers(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	o, conf := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Header().Set("Content-Length", "200000") // larger than the client's buffer
		_, _ = io.WriteString(w, strings.Repeat("y", 200000))
	})
	for _, rate := range []float64{0, 100} {
		served.Store(0)
		o.Rate = rate
		res, err := RunTLS(o, conf)
		if err != nil {
			t.Fatal(err)
		}
		if res.Requests == 0 || res.All != uint64(served.Load()) || res.Non2xx != 0 || res.Bytes < res.Requests*200000 || res.Latency.Total() != res.Requests {
			t.Errorf("rate %v: %d of %d answers, %d served, %d not 2xx, %d bytes", rate, res.Requests, res.All, served.Load(), res.Non2xx, res.Bytes)
		}
	}
}

func TestEveryHandshakeIsFull(t *testing.T) {
	t.Parallel()
	var resumed, served atomic.Int64
	o, conf := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.TLS.DidResume {
			resumed.Add(1)
		}
	})
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	res, err := RunHandshakes(o, conf)
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests == 0 || res.All != uint64(served.Load()) || resumed.Load() != 0 {
		t.Errorf("%d of %d answers, %d served, %d resumed", res.Requests, res.All, served.Load(), resumed.Load())
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	var got atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n)
		if r.Method == "GET" {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = w.Write(make([]byte, size))
		}
	}))
	t.Cleanup(srv.Close)
	o := Options{Target: netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "http://"))}
	for _, upload := range []bool{false, true} {
		res, err := RunTransfer(o, Transfer{Upload: upload, Size: size, Path: "/bulk"})
		if err != nil || res.Requests != 1 || res.Non2xx != 0 {
			t.Fatalf("upload %v: %+v, %v", upload, res, err)
		}
		if upload && got.Load() != size {
			t.Errorf("the server got %d bytes, want %d", got.Load(), size)
		}
	}
}
