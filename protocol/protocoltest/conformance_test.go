package protocoltest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// minimal is the least an agent can be.
type minimal struct{}

func (minimal) Name() string { return "minimal" }

func (minimal) Request(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
	return protocol.Allow(), nil
}

// full implements everything.
type full struct{ minimal }

func (full) Configure(_ context.Context, c json.RawMessage) error {
	var v struct{}
	return agent.DecodeConfig(c, &v)
}

func (full) RequestBody(context.Context, *protocol.BodyChunk) (protocol.Verdict, error) {
	return protocol.Block(403, protocol.Headers{{Name: "x", Value: "y"}}, []byte("no")), nil
}

func (full) Response(context.Context, *protocol.ResponseHeaders) (protocol.Verdict, error) {
	return protocol.Redirect("/elsewhere", 302).WithTags("t").WithRules("r").WithReasons("c").WithCustom("k", "v"), nil
}

func (full) ResponseBody(context.Context, *protocol.BodyChunk) (protocol.Verdict, error) {
	return protocol.Challenge("captcha", protocol.Header{Name: "a", Value: "b"}), nil
}

func (full) Complete(context.Context, *protocol.RequestComplete) {}
func (full) Version() string                                     { return "1.2.3" }
func (full) Limits() protocol.Limits                             { return protocol.Limits{MaxConcurrency: 4} }
func (full) Health() (protocol.Health, string)                   { return protocol.Healthy, "" }
func (full) Metrics() protocol.MetricsReport                     { return protocol.MetricsReport{} }
func (full) Close() error                                        { return nil }
func (full) Reopen() error                                       { return errors.New("no") }

func TestMinimal(t *testing.T) {
	t.Parallel()
	protocoltest.Conformance(t, func() agent.Agent { return minimal{} })
}

func TestFull(t *testing.T) {
	t.Parallel()
	protocoltest.Conformance(t, func() agent.Agent { return full{} })
}
