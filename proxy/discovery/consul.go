package discovery

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// consul asks Consul's agent or servers for the instances of a service that pass their checks (/v1/health/service), with blocking queries: the answer comes when
// something has changed, or after a while.
type consul struct {
	*registry
	service, datacenter string
	tags                []string
	index               uint64
}

func newConsul(d *config.Discovery) *consul {
	return &consul{registry: newRegistry(d, "X-Consul-Token", ""), service: d.Service, datacenter: d.Datacenter, tags: d.Tags}
}

// consulEntry is what is read of an instance.
type consulEntry struct {
	Node    struct{ Address string }
	Service struct {
		Address string
		Port    int
		Weights struct{ Passing int }
	}
}

func (c *consul) find(ctx context.Context) ([]config.Target, time.Duration, error) {
	query := url.Values{"passing": {"1"}}
	if c.datacenter != "" {
		query.Set("dc", c.datacenter)
	}
	for _, tag := range c.tags {
		query.Add("tag", tag)
	}
	if c.index > 0 {
		query.Set("index", strconv.FormatUint(c.index, 10))
		query.Set("wait", strconv.FormatInt(c.wait.Milliseconds(), 10)+"ms")
	}
	before := c.index
	c.index = 0 // after any mistake the next look does not wait
	res, err := c.open(ctx, "/v1/health/service/"+url.PathEscape(c.service), query)
	if err != nil {
		return nil, 0, err
	}
	index, _ := strconv.ParseUint(res.Header.Get("X-Consul-Index"), 10, 64)
	var list []consulEntry
	if err := read(res, &list); err != nil {
		return nil, 0, err
	}
	var out []config.Target
	for i := range list {
		e := &list[i]
		host := e.Service.Address
		if host == "" {
			host = e.Node.Address
		}
		if e.Service.Port == 0 {
			return nil, 0, errors.New("an instance has no port")
		}
		out = append(out, config.Target{Address: net.JoinHostPort(host, strconv.Itoa(e.Service.Port)), Weight: min(max(e.Service.Weights.Passing, 1), maxWeight)})
	}
	if index >= before { // one that goes back means that the servers have started anew
		c.index = index
	}
	return unique(out), pollPause, nil
}

// pollPause is how long to wait between two questions that each wait for a change themselves.
const pollPause = 100 * time.Millisecond
