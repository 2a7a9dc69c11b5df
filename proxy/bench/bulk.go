package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/bench/load"
	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// runBulkBackend serves large bodies from memory and throws away what it is sent, so that no disk is measured.
func runBulkBackend(addr string) int {
	zeros := make([]byte, 256<<10)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /0", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /bulk/{size}", func(w http.ResponseWriter, r *http.Request) {
		left, err := strconv.ParseInt(r.PathValue("size"), 10, 64)
		if err != nil {
			http.Error(w, "no size", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
		for left > 0 {
			n, err := w.Write(zeros[:min(left, int64(len(zeros)))])
			if err != nil {
				return
			}
			left -= int64(n)
		}
	})
	mux.HandleFunc("POST /bulk/{size}", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, len(zeros)))
		if err != nil || strconv.FormatInt(n, 10) != r.PathValue("size") {
			http.Error(w, "not all of it came", http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /bulk/socket", echoSocket)
	fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, mux))
	return 1
}

// startBulk runs the backend of large bodies as a process of its own, so that its CPU is nobody's.
func startBulk(dir string) (p *peer.Peer, port int, err error) {
	if port, err = peer.FreePort(); err != nil {
		return nil, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p, err = peer.Start("bulk", dir, addr, "/0", self, "-bulk-backend", addr)
	return p, port, err
}

var bulkColumns = []column{
	{"cpu/GiB", func(s sample) float64 { return s.cpuPerRequest.Seconds() * 1e3 * (1 << 30) / float64(s.Bytes) }, "ms", true},
	{"MiB/s", func(s sample) float64 { return float64(s.Bytes) / (1 << 20) / s.Max.Seconds() }, "", true},
	{"peak rss", func(s sample) float64 { return float64(s.peak) / (1 << 20) }, "MiB", true},
	clientColumn,
}

// measureBulk moves one large body down and up, without TLS.
func measureBulk(o options, peers []*peer.Peer) error {
	size := int64(o.bulk * (1 << 30))
	for _, upload := range []bool{false, true} {
		title := "download"
		if upload {
			title = "upload"
		}
		path := fmt.Sprintf("/bulk/%d", size)
		all, err := rounds(o, peers, job{Path: path, Transfer: &load.Transfer{Upload: upload, Size: size, Path: path}})
		if err != nil {
			return err
		}
		reportColumns(fmt.Sprintf("%s of %.2f GiB, plain, one connection", title, o.bulk), peers, all, bulkColumns)
	}
	return nil
}
