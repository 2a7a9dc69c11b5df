package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// resolver asks name servers. It keeps nothing: how long an answer is good for is told to who asked.
type resolver struct {
	servers  []string // host:port; none = those of /etc/resolv.conf
	timeout  time.Duration
	min, max time.Duration
}

func newResolver(d *config.Discovery) *resolver {
	return &resolver{servers: d.Resolvers, timeout: d.Timeout, min: d.MinTTL, max: d.MaxTTL}
}

// good bounds a TTL.
func (r *resolver) good(ttl time.Duration) time.Duration { return min(max(ttl, r.min), r.max) }

// systemServers are those that the system uses.
func systemServers() ([]string, error) {
	c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("no resolver is configured, and the system's cannot be read: %w", err)
	}
	var out []string
	for _, s := range c.Servers {
		out = append(out, net.JoinHostPort(s, c.Port))
	}
	if len(out) == 0 {
		return nil, errors.New("no resolver is configured, and /etc/resolv.conf names none")
	}
	return out, nil
}

// ask puts one question to the servers in turn. Each gets its share of the time, so that one that is silent does not use it up for the others.
func (r *resolver) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	servers := r.servers
	if len(servers) == 0 {
		var err error
		if servers, err = systemServers(); err != nil {
			return nil, err
		}
	}
	var failed error
	for i, server := range servers {
		share := r.timeout
		if end, ok := ctx.Deadline(); ok {
			share = time.Until(end) / time.Duration(len(servers)-i)
		}
		part, cancel := context.WithTimeout(ctx, share)
		answer, err := askServer(part, server, name, kind)
		cancel()
		if err == nil {
			return answer, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", server, err))
	}
	return nil, failed
}

func askServer(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	q.SetEdns0(1232, false)
	answer, err := exchange(ctx, "udp", server, q)
	if err == nil && answer.Truncated {
		answer, err = exchange(ctx, "tcp", server, q)
	}
	switch {
	case err != nil:
		return nil, err
	case answer.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("answered %s for %s", dns.RcodeToString[answer.Rcode], name)
	}
	return answer, nil
}

// exchange sends q and takes the answer to it, and no other.
func exchange(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	c := &dns.Client{Net: network, UDPSize: 1232}
	if end, ok := ctx.Deadline(); ok {
		c.Timeout = time.Until(end)
	}
	answer, _, err := c.ExchangeContext(ctx, q, server) // compares the id
	if err != nil {
		return nil, err
	}
	if !answer.Response || len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name) || answer.Question[0].Qtype != q.Question[0].Qtype {
		return nil, errors.New("answered another question")
	}
	return answer, nil
}

// records are those of one kind that the answer gives for the name, following its aliases, and how long they are good for. What else stands in it is of no interest.
func records[T dns.RR](answer *dns.Msg) (out []T, ttl time.Duration) {
	owner := answer.Question[0].Name
	shortest := uint32(1<<31 - 1)
	for range len(answer.Answer) + 1 {
		i := slices.IndexFunc(answer.Answer, func(rr dns.RR) bool {
			_, alias := rr.(*dns.CNAME)
			return alias && strings.EqualFold(rr.Header().Name, owner)
		})
		if i < 0 {
			break
		}
		alias := answer.Answer[i].(*dns.CNAME)
		owner, shortest = alias.Target, min(shortest, alias.Hdr.Ttl)
	}
	for _, rr := range answer.Answer {
		if t, ok := rr.(T); ok && strings.EqualFold(rr.Header().Name, owner) {
			out = append(out, t)
			shortest = min(shortest, rr.Header().Ttl)
		}
	}
	return out, time.Duration(shortest) * time.Second
}

// addresses finds the addresses of a name, all on one port.
type addresses struct {
	*resolver
	name string
	port int
}

func (a *addresses) find(ctx context.Context) ([]config.Target, time.Duration, error) {
	found, ttl, err := a.lookUp(ctx, a.name)
	var out []config.Target
	for _, ip := range found {
		out = append(out, config.Target{Address: net.JoinHostPort(ip, strconv.Itoa(a.port)), Weight: 1})
	}
	return unique(out), a.good(ttl), err
}

// unique drops what stands there twice: two names may lead to one server.
func unique(targets []config.Target) []config.Target {
	slices.SortStableFunc(targets, func(a, b config.Target) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(targets, func(a, b config.Target) bool { return a.Address == b.Address })
}

// lookUp asks for both families at the same time. One of them is enough.
func (r *resolver) lookUp(ctx context.Context, name string) (ips []string, ttl time.Duration, err error) {
	type result struct {
		ips []string
		ttl time.Duration
		err error
	}
	six := make(chan result, 1)
	go func() {
		var v result
		answer, err := r.ask(ctx, name, dns.TypeAAAA)
		if v.err = err; err == nil {
			var list []*dns.AAAA
			list, v.ttl = records[*dns.AAAA](answer)
			for _, rr := range list {
				v.ips = append(v.ips, rr.AAAA.String())
			}
		}
		six <- v
	}()
	answer, err4 := r.ask(ctx, name, dns.TypeA)
	ttl = r.max
	if err4 == nil {
		list, t := records[*dns.A](answer)
		for _, rr := range list {
			ips, ttl = append(ips, rr.A.String()), min(ttl, t)
		}
	}
	v := <-six
	if len(v.ips) > 0 {
		ips, ttl = append(ips, v.ips...), min(ttl, v.ttl)
	}
	if len(ips) == 0 {
		return nil, 0, errors.Join(err4, v.err)
	}
	return ips, ttl, nil
}

// services finds the servers of a service (RFC 2782): those of the best priority, with their ports and weights, by the addresses of their names.
type services struct {
	*resolver
	name string
}

func (s *services) find(ctx context.Context) ([]config.Target, time.Duration, error) {
	answer, err := s.ask(ctx, s.name, dns.TypeSRV)
	if err != nil {
		return nil, 0, err
	}
	list, ttl := records[*dns.SRV](answer)
	best := uint16(1<<16 - 1)
	for _, rr := range list {
		best = min(best, rr.Priority)
	}
	var out []config.Target
	for _, rr := range list {
		if rr.Priority != best || rr.Target == "." { // "." says that there is no such service
			continue
		}
		ips, t, err := s.lookUp(ctx, rr.Target)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", rr.Target, err)
		}
		ttl = min(ttl, t)
		for _, ip := range ips { // a weight of 0 means "hardly any" there, and "none" here
			out = append(out, config.Target{Address: net.JoinHostPort(ip, strconv.Itoa(int(rr.Port))), Weight: min(max(int(rr.Weight), 1), maxWeight)})
		}
	}
	return unique(out), s.good(ttl), nil
}
