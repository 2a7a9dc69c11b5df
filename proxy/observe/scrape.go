package observe

import (
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Collector exports every handle under sentinel_*.
func (m *Metrics) Collector() prometheus.Collector { return newCollector(m) }

// Registry makes a registry with the Collector and the metrics of process and runtime.
func (m *Metrics) Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(m.Collector(), reportCollector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	m.scrape.once.Do(func() {
		m.scrape.handler = promhttp.HandlerFor(m.Registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	})
	return m.scrape.handler
}

// WriteText writes what a scrape answers, in the Prometheus text format, and returns its media type.
func (m *Metrics) WriteText(w io.Writer) (contentType string, err error) {
	req, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		return "", err
	}
	out := &textWriter{to: w, header: http.Header{}, status: http.StatusOK}
	m.Handler().ServeHTTP(out, req)
	switch {
	case out.err != nil:
		return "", fmt.Errorf("cannot write metrics: %w", out.err)
	case out.status != http.StatusOK:
		return "", fmt.Errorf("cannot gather metrics: status %d", out.status)
	}
	return out.header.Get("Content-Type"), nil
}

// textWriter lets an HTTP handler write into any writer.
type textWriter struct {
	to     io.Writer
	header http.Header
	status int
	err    error
}

func (t *textWriter) Header() http.Header { return t.header }

func (t *textWriter) WriteHeader(status int) { t.status = status }

func (t *textWriter) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	if err != nil {
		t.err = err
	}
	return n, err
}
