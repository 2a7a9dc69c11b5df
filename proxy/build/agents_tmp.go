package build

import (
	"context"
	"errors"
	"log/slog"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

type agentSet struct{}
type agentDeps struct {
	Metrics                           *observe.Metrics
	Logger                            *slog.Logger
	RuntimeDir, ProxyID, ProxyVersion string
}

func newAgentSet(cfgs []config.Agent, prev *agentSet, d agentDeps) (*agentSet, error) {
	return &agentSet{}, nil
}
func (*agentSet) Configure(context.Context) error     { return nil }
func (*agentSet) Rollback(context.Context, *agentSet) {}
func (*agentSet) Close()                              {}
func (*agentSet) Snapshot() []api.Agent               { return nil }
func (*agentSet) Filter(string, string, config.AgentFilter) (filter.Filter, error) {
	return nil, errors.New("not yet")
}
