package config

import (
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Discovery says where the targets of an upstream are found instead of in the configuration.
type Discovery struct {
	Type       string // dns, srv, file, consul or kubernetes
	Hostname   string // dns
	Port       int    // dns
	Service    string // srv: _name._proto.domain; consul, kubernetes: its name
	Resolvers  []string
	MinTTL     time.Duration // dns, srv
	MaxTTL     time.Duration // dns, srv
	Path       string        // file
	Interval   time.Duration // file
	Address    string        // consul, kubernetes: URL of the API
	TokenFile  string        // consul, kubernetes
	CAFile     string        // consul, kubernetes
	Datacenter string        // consul
	Tags       []string      // consul
	Namespace  string        // kubernetes
	PortName   string        // kubernetes
	Timeout    time.Duration
	MaxTargets int
}

func discoverySchema() *Key {
	return block("discovery", "Discovery", "Finds the targets while the proxy runs: discovery \"dns\" { … }. Those that stay keep their connections, health and circuits, new ones are like any that a reload adds, and exchanges with those that go end in peace. "+
		"An answer without targets, or none, changes nothing: the targets found last stay. The proxy starts without waiting longer than timeout; until targets are found, requests are answered 503.",
		value("type", "Type", keyword("dns", "srv", "file", "consul", "kubernetes").not("static"), nil, "dns: the addresses of a name, on one port; srv: the servers of a service by their SRV records, those of the best priority, with their weights; file: what stands in a file; "+
			"consul: the instances of a service that pass their checks; kubernetes: the ready endpoints of a service, with their zones.").required(),
		value("hostname", "Hostname", plainHost(), "", "The name.").only("dns").required(),
		value("port", "Port", integer(1, 65535), nil, "The port of all its addresses.").only("dns").required(),
		value("service", "Service", serviceName(), "", "The service, as \"_http._tcp.app.example\" with srv, else its name.").only("srv", "consul", "kubernetes").required(),
		list("resolver", "Resolvers", hostPort(), nil, "Name servers in the order in which they are asked, each with its share of timeout.").only("dns", "srv").once(),
		value("min-ttl", "MinTTL", seconds(time.Millisecond, day), 5*time.Second, "The shortest time after which the name is looked up again, whatever its records say.").only("dns", "srv"),
		value("max-ttl", "MaxTTL", seconds(time.Millisecond, day), 5*time.Minute, "The longest.").only("dns", "srv"),
		value("path", "Path", absoluteFile(), "", "The file: lines of an address with weight=N and zone=NAME behind it, or a JSON array of {\"address\", \"weight\", \"zone\"}. It is read again when it changes, and only taken over as a whole. The stack keeps no copy of it.").only("file").required(),
		value("interval", "Interval", seconds(10*time.Millisecond, day), time.Second, "How often the file is looked at.").only("file"),
		value("address", "Address", apiURL(), "", "The API, as \"http://127.0.0.1:8500\" or \"https://kubernetes.default.svc\".").only("consul", "kubernetes").required(),
		value("token-file", "TokenFile", absoluteFile(), "", "A file with the token, read for every request.").only("consul", "kubernetes").unset("none is sent"),
		value("ca-file", "CAFile", absoluteFile(), "", "Certificates of those who issue the API's certificate, as PEM, read for every request.").only("consul", "kubernetes").unset("those of the system"),
		value("datacenter", "Datacenter", nonEmpty("name"), "", "The datacenter.").only("consul").unset("the agent's own"),
		list("tag", "Tags", nonEmpty("tag"), nil, "Tags that instances must have, all of them.").only("consul").once(),
		value("namespace", "Namespace", nonEmpty("name"), "default", "The namespace of the service.").only("kubernetes"),
		value("port-name", "PortName", nonEmpty("name"), "", "The port of the service.").only("kubernetes").unset("the only one"),
		value("timeout", "Timeout", seconds(time.Millisecond, 5*time.Minute), 5*time.Second, "Time one look may take. With consul and kubernetes a look waits for a change as long as three quarters of it."),
		value("max-targets", "MaxTargets", integer(1, 100_000), 1000, "An answer with more is not taken over."),
	).argName("type").optional()
}

// serviceName is the owner of SRV records.
func serviceName() *Type { return text("service", checkHost) }

// discovery checks what its keys say together, and with the rest of the upstream.
func (c *checker) discovery(u *Upstream, path string) {
	d := u.Discovery
	if len(u.Targets) > 0 {
		c.fail(c.at(path+".discovery"), "no-effect", "remove the targets, or discovery", "upstream %s has targets, so nothing is to be discovered", kdl.Quote(u.ID))
	}
	if d.MaxTTL < d.MinTTL {
		c.fail(c.at(path+".discovery.max-ttl"), "invalid-value", "", "max-ttl %s is below min-ttl %s", shortDuration(d.MaxTTL), shortDuration(d.MinTTL))
	}
	if u.LoadBalancing == "maglev" && u.Balancing.TableSize < d.MaxTargets {
		c.fail(c.at(path+".load-balancing.table-size"), "invalid-value", "", "table-size %d is less than max-targets of discovery, %d", u.Balancing.TableSize, d.MaxTargets)
	}
	if (d.Type == "srv" || d.Type == "consul") && slices.Contains(weightless, u.LoadBalancing) {
		c.report.warn(c.at(path+".discovery"), "no-effect", `write load-balancing "weighted"`, "the weights that are found have no effect with %s", kdl.Quote(u.LoadBalancing))
	}
}

// CheckTarget reports what is wrong with the address of a target.
func CheckTarget(address string) error { return targetAddress().check(address) }
