package tlsconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	zoneTimeout = 5 * time.Second // for one question
	maxServers  = 16              // name servers of a zone that are asked
)

// look asks every name server for the proof once. The error says which of them does not have it.
func (d *dnsProvider) look(ctx context.Context, name, value string) error {
	servers := d.conf.Nameservers
	if len(servers) == 0 {
		var err error
		if servers, err = zoneServers(ctx, net.DefaultResolver, name); err != nil {
			return err
		}
	}
	for _, server := range servers {
		if err := has(ctx, server, name, value); err != nil {
			return err
		}
	}
	return nil
}

// has asks one name server.
func has(ctx context.Context, server, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, zoneTimeout)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
	texts, err := r.LookupTXT(ctx, name+".")
	switch {
	case err != nil:
		return fmt.Errorf("name server %s: %w", server, err)
	case !slices.Contains(texts, value):
		return fmt.Errorf("name server %s has other proofs only", server)
	}
	return nil
}

// resolver is who is asked which name servers a zone has.
type resolver interface {
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupHost(ctx context.Context, name string) ([]string, error)
}

// zoneServers are the addresses of the name servers of the zone that a name belongs to: a resolver in between would remember for long that there was no proof.
func zoneServers(ctx context.Context, r resolver, name string) ([]string, error) {
	for zone := name; strings.Contains(zone, "."); _, zone, _ = strings.Cut(zone, ".") {
		ask, cancel := context.WithTimeout(ctx, zoneTimeout)
		records, err := r.LookupNS(ask, zone+".")
		cancel()
		var missing *net.DNSError
		switch {
		case err == nil && len(records) > 0:
			return addressesOf(ctx, r, records)
		case err != nil && (!errors.As(err, &missing) || !missing.IsNotFound):
			return nil, err
		}
	}
	return nil, fmt.Errorf("no zone is known for %s", name)
}

func addressesOf(ctx context.Context, r resolver, records []*net.NS) (out []string, err error) {
	for _, ns := range records[:min(len(records), maxServers)] {
		ask, cancel := context.WithTimeout(ctx, zoneTimeout)
		addresses, bad := r.LookupHost(ask, ns.Host)
		cancel()
		if bad != nil {
			err = bad
			continue
		}
		out = append(out, net.JoinHostPort(addresses[0], "53"))
	}
	if len(out) == 0 {
		return nil, err
	}
	return out, nil
}
