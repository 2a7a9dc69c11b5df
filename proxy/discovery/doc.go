// Package discovery finds the targets of upstreams that do not list them: in a file, in addresses of a name, in SRV records, in Consul, or in EndpointSlices of Kubernetes.
//
// A Set watches for all upstreams of a configuration. What it finds is told to nobody in particular: whoever owns it is told that something has changed, asks Apply
// for the configuration with the targets filled in, and makes a new generation of it. So everything that holds for a reload holds for a target that comes or goes:
// those that stay keep their connections, health and circuits, new ones start slowly, and exchanges with those that have gone end in peace.
//
// An answer without targets is an error like any other: what was found last stays. A name that vanishes, or a file that is half written, must not empty a pool.
package discovery
