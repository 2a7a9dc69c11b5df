package main

import (
	"testing"

	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
)

func TestConformance(t *testing.T) {
	protocoltest.Conformance(t, func() agent.Agent { return newEcho("test") })
}
