package observe

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Streams of HTTP/2 are shown of every listener that may have some, with TLS or without.
func TestStreamsOfPlainListeners(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	l := m.Listener("plain")
	defer l.Release()
	l.Streams.Add(2)
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(m))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "sentinel_http2_streams" {
			continue
		}
		for _, s := range f.GetMetric() {
			if s.GetLabel()[0].GetValue() == "plain" && s.GetGauge().GetValue() == 2 {
				return
			}
		}
	}
	t.Error("the listener's streams are not shown")
}
