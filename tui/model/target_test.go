package model

import (
	"strings"
	"testing"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
)

// What keeps requests from a target is what its word says, and how grave it is.
func TestTargetWordAndSeverity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		target   proxyapi.Target
		word     string
		severity Severity
	}{
		{proxyapi.Target{Status: "healthy"}, "healthy", OK},
		{proxyapi.Target{Status: "healthy", Circuit: "closed"}, "healthy", OK},
		{proxyapi.Target{Status: "unknown"}, "unknown", Idle},
		{proxyapi.Target{Status: "unhealthy"}, "unhealthy", Bad},
		{proxyapi.Target{Status: "ejected"}, "ejected", Bad},
		{proxyapi.Target{Status: "healthy", Circuit: "open"}, "circuit open", Bad},
		{proxyapi.Target{Status: "unknown", Circuit: "half-open"}, "circuit half-open", Warn},
	} {
		word := TargetWord(&tt.target)
		if word != tt.word || targetSeverity(word) != tt.severity {
			t.Errorf("%+v: %q, severity %d", tt.target, word, targetSeverity(word))
		}
	}
}

// An upstream that panics is one fault, however many targets it has, and none when it does not.
func TestPanicIsAFault(t *testing.T) {
	t.Parallel()
	m := newModel()
	s := snap(1, "a", 0, 0)
	s.Upstreams = []proxyapi.Upstream{{ID: "calm", Targets: []proxyapi.Target{{Address: "x:1", Status: "healthy"}}},
		{ID: "shop", Panic: true, Targets: []proxyapi.Target{{Address: "a:1", Status: "healthy"}, {Address: "b:1", Status: "healthy"}}}}
	m.Update(s)
	faults := m.Faults()
	if len(faults) != 1 || faults[0].Severity != Bad || faults[0].Pane != Upstreams || !strings.Contains(faults[0].Text, "upstream shop panics") {
		t.Errorf("faults %+v", faults)
	}
}

// An upstream whose targets are not found yet is not left out: its requests are refused.
func TestUpstreamWithoutTargetsIsARow(t *testing.T) {
	rows := targetRows(&Snapshot{Upstreams: []proxyapi.Upstream{{ID: "found", Targets: []proxyapi.Target{{Address: "a:1", Status: "healthy"}}}, {ID: "empty"}}}, nil, 1)
	if len(rows) != 2 || rows[1].Upstream != "empty" || rows[1].Severity != Bad || rows[1].Target.Status != "no targets" {
		t.Errorf("%+v", rows)
	}
}
