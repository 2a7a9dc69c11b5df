package tui

import (
	"encoding/json"
	"io"
	"math"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

// report is the printed reading as JSON. A figure that is not known is null.
type report struct {
	State      string             `json:"state"`
	Error      string             `json:"error,omitempty"`       // why nothing could be read
	ProxyError string             `json:"proxy_error,omitempty"` // why the proxy's figures are missing
	Version    string             `json:"version,omitempty"`
	Generation uint64             `json:"generation"`
	Rate       *float64           `json:"requests_per_sec"`
	ErrShare   *float64           `json:"error_share"` // of 5xx, 0..1
	P99        *float64           `json:"p99_secs"`
	Circuits   int                `json:"open_circuits"`
	Faults     []string           `json:"faults"`
	Routes     []routeReport      `json:"routes"`
	Targets    []targetReport     `json:"targets"`
	Agents     []agentReport      `json:"agents"`
	Services   []stackapi.Service `json:"services"`
}

type routeReport struct {
	ID       string   `json:"id"`
	Match    string   `json:"match"`
	Target   string   `json:"target"`
	Requests uint64   `json:"requests"`
	Rate     *float64 `json:"requests_per_sec"`
	ErrShare *float64 `json:"error_share"`
	P50      *float64 `json:"p50_secs"`
	P99      *float64 `json:"p99_secs"`
}

type targetReport struct {
	Upstream string `json:"upstream"`
	proxyapi.Target
	Rate *float64 `json:"requests_per_sec"`
}

type agentReport struct {
	proxyapi.Agent
	Rate *float64 `json:"calls_per_sec"`
}

func writeReport(w io.Writer, m *model.Model) error {
	s, c := m.Summary(), m.Connection()
	r := report{
		State: s.State, Error: c.Err, ProxyError: c.ProxyErr, Version: s.Version, Generation: s.Generation,
		Rate: known(s.Rate), ErrShare: known(s.ErrShare), P99: known(s.P99.Secs), Circuits: s.Circuits,
		Faults: []string{}, Routes: []routeReport{}, Targets: []targetReport{}, Agents: []agentReport{}, Services: []stackapi.Service{},
	}
	for _, f := range m.Faults() {
		r.Faults = append(r.Faults, f.Text)
	}
	for _, v := range m.RouteRows() {
		r.Routes = append(r.Routes, routeReport{ID: v.ID, Match: v.Match, Target: v.Target, Requests: v.Requests,
			Rate: known(v.Rate), ErrShare: known(v.ErrShare), P50: known(v.P50.Secs), P99: known(v.P99.Secs)})
	}
	for _, v := range m.TargetRows() {
		r.Targets = append(r.Targets, targetReport{Upstream: v.Upstream, Target: v.Target, Rate: known(v.Rate)})
	}
	for _, v := range m.AgentRows() {
		r.Agents = append(r.Agents, agentReport{Agent: v.Agent, Rate: known(v.Rate)})
	}
	for _, v := range m.ServiceRows() {
		r.Services = append(r.Services, v.Service)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
