package model

import (
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
