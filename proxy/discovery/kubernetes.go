package discovery

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// kubernetes asks the API server for the EndpointSlices of a service (discovery.k8s.io/v1). It lists them, then waits for the first event of a watch, and lists again: the
// list is the truth, the watch only says when to look. So nothing is missed, whatever a watch leaves out.
type kubernetes struct {
	*registry
	namespace, service, port string
	version                  string // resourceVersion of the last list
}

func newKubernetes(d *config.Discovery) *kubernetes {
	return &kubernetes{registry: newRegistry(d, "Authorization", "Bearer "), namespace: d.Namespace, service: d.Service, port: d.PortName}
}

// sliceList is what is read of a list of EndpointSlices.
type sliceList struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Items []slice `json:"items"`
}

type slice struct {
	AddressType string `json:"addressType"`
	Ports       []struct {
		Name     *string `json:"name"`
		Port     *int    `json:"port"`
		Protocol *string `json:"protocol"`
	} `json:"ports"`
	Endpoints []struct {
		Addresses  []string `json:"addresses"`
		Zone       *string  `json:"zone"`
		Conditions struct {
			Ready *bool `json:"ready"`
		} `json:"conditions"`
	} `json:"endpoints"`
}

func (k *kubernetes) find(ctx context.Context) ([]config.Target, time.Duration, error) {
	if k.version != "" {
		if err := k.awaitChange(ctx); err != nil {
			k.version = ""
			var status *statusError
			if !errors.As(err, &status) || status.status != 410 { // 410: the version is too old to watch from; a list gives a new one
				return nil, 0, err
			}
		}
	}
	k.version = ""
	res, err := k.open(ctx, k.path(), k.query())
	if err != nil {
		return nil, 0, err
	}
	var list sliceList
	if err := read(res, &list); err != nil {
		return nil, 0, err
	}
	var out []config.Target
	for i := range list.Items {
		targets, err := k.targets(&list.Items[i])
		if err != nil {
			return nil, 0, err
		}
		out = append(out, targets...)
	}
	k.version = list.Metadata.ResourceVersion
	return unique(out), pollPause, nil
}

func (k *kubernetes) path() string {
	return "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(k.namespace) + "/endpointslices"
}

func (k *kubernetes) query() url.Values {
	return url.Values{"labelSelector": {"kubernetes.io/service-name=" + k.service}}
}

// awaitChange waits until an EndpointSlice changes, or for a while.
func (k *kubernetes) awaitChange(ctx context.Context) error {
	query := k.query()
	query.Set("watch", "1")
	query.Set("resourceVersion", k.version)
	query.Set("timeoutSeconds", strconv.Itoa(max(1, int(k.wait/time.Second))))
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	res, err := k.open(ctx, k.path(), query)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) { // nothing has changed
			return nil
		}
		return err
	}
	defer res.Body.Close()
	line, _ := bufio.NewReaderSize(res.Body, 4096).ReadSlice('\n') // what it says is in the list
	var event struct {
		Type   string `json:"type"`
		Object struct {
			Code int `json:"code"`
		} `json:"object"`
	}
	if json.Unmarshal(line, &event) == nil && event.Type == "ERROR" {
		return &statusError{event.Object.Code}
	}
	return nil
}

// targets are the endpoints of a slice that are ready. Who does not say whether it is counts as ready (the API says so).
func (k *kubernetes) targets(s *slice) (out []config.Target, err error) {
	if s.AddressType == "FQDN" {
		return nil, nil
	}
	port := 0
	for _, p := range s.Ports {
		named := p.Name != nil && *p.Name == k.port || k.port == "" && len(s.Ports) == 1
		if named && p.Port != nil && (p.Protocol == nil || *p.Protocol == "TCP") {
			port = *p.Port
		}
	}
	if port == 0 {
		if len(s.Endpoints) == 0 {
			return nil, nil
		}
		if k.port == "" {
			return nil, fmt.Errorf("service %s has %d ports: write port-name", k.service, len(s.Ports))
		}
		return nil, fmt.Errorf("service %s has no port %q", k.service, k.port)
	}
	for _, e := range s.Endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
			continue
		}
		t := config.Target{Address: net.JoinHostPort(e.Addresses[0], strconv.Itoa(port)), Weight: 1} // the others lead to the same place
		if e.Zone != nil {
			t.Zone = *e.Zone
		}
		out = append(out, t)
	}
	return out, nil
}
