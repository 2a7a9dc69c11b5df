package discovery

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// api is an HTTP API whose state a test changes; who waits for a change is woken.
type api struct {
	*httptest.Server
	mu      sync.Mutex
	index   int
	state   string
	changed chan struct{}
	asked   []string // "authorization path?query"
	refuse  int      // with this status
}

// startAPI runs one. answer writes the state of the moment; it may wait for changed.
func startAPI(t *testing.T, secure bool, answer func(a *api, w http.ResponseWriter, r *http.Request)) *api {
	t.Helper()
	a := &api{index: 10, changed: make(chan struct{})}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = append(a.asked, r.Header.Get("Authorization")+r.Header.Get("X-Consul-Token")+" "+r.URL.String())
		refuse := a.refuse
		a.mu.Unlock()
		if refuse != 0 {
			w.WriteHeader(refuse)
			return
		}
		answer(a, w, r)
	})
	if secure {
		a.Server = httptest.NewTLSServer(h)
	} else {
		a.Server = httptest.NewServer(h)
	}
	t.Cleanup(func() { a.CloseClientConnections(); a.Server.Close() })
	return a
}

func (a *api) set(state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index++
	a.state = state
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) now() (int, string, chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index, a.state, a.changed
}

func (a *api) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.asked, "\n")
}

func (a *api) refuseWith(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = status
}

// consulAPI answers like Consul 1.20: /v1/health/service/NAME with blocking queries.
func consulAPI(a *api, w http.ResponseWriter, r *http.Request) {
	index, state, changed := a.now()
	if r.URL.Query().Get("index") == strconv.Itoa(index) {
		wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
		}
		index, state, _ = a.now()
	}
	w.Header().Set("X-Consul-Index", strconv.Itoa(index))
	fmt.Fprint(w, state)
}

// instance is an element of Consul's answer, with more than is read of it.
func instance(node, service string, port, weight int) string {
	return fmt.Sprintf(`{"Node": {"ID": "x", "Node": "n", "Address": %q, "Datacenter": "dc1", "TaggedAddresses": {"lan": "10.0.0.1"}, "Meta": {}},
"Service": {"ID": "web-1", "Service": "web", "Tags": ["v2"], "Address": %q, "Port": %d, "Weights": {"Passing": %d, "Warning": 1}, "Meta": null, "Proxy": {}},
"Checks": [{"CheckID": "serfHealth", "Status": "passing", "Output": "alive"}]}`, node, service, port, weight)
}

func TestConsul(t *testing.T) {
	a := startAPI(t, false, consulAPI)
	a.state = "[" + instance("192.0.2.1", "", 8080, 1) + "," + instance("192.0.2.2", "192.0.2.99", 8081, 5) + "]"
	token := filepath.Join(t.TempDir(), "token")
	os.WriteFile(token, []byte("s3cret\n"), 0o600)
	_, targets := watch(t, config.Discovery{Type: "consul", Service: "web", Address: a.URL, TokenFile: token, Datacenter: "dc1", Tags: []string{"v2", "eu"}, Timeout: 20 * time.Second})
	if got, want := targets(), "192.0.2.1:8080, 192.0.2.99:8081 weight=5"; got != want {
		t.Fatalf("targets are %q, want %q", got, want)
	}
	if got, want := a.log(), "s3cret /v1/health/service/web?dc=dc1&passing=1&tag=v2&tag=eu"; !strings.HasPrefix(got, want+"\n") && got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	began := time.Now()
	eventuallyAsked(t, a, "index=10&passing=1&tag=v2&tag=eu&wait=15000ms") // it waits now
	a.set("[" + instance("192.0.2.3", "", 8080, 1) + "]")
	eventually(t, targets, "192.0.2.3:8080")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a change took %v", took)
	}
	a.set("[]")
	eventuallyAsked(t, a, "index=11")
	a.set("[" + instance("192.0.2.4", "", 0, 1) + "]") // an instance nobody can reach
	time.Sleep(50 * time.Millisecond)
	if got := targets(); got != "192.0.2.3:8080" {
		t.Errorf("an empty answer left %q", got)
	}
	a.mu.Lock()
	a.index = 1 // the servers have started anew
	a.mu.Unlock()
	a.set("[" + instance("192.0.2.5", "", 80, 1) + "]")
	eventually(t, targets, "192.0.2.5:80")
	a.refuseWith(500)
	a.set("[" + instance("192.0.2.6", "", 80, 1) + "]")
	a.refuseWith(0)
	eventually(t, targets, "192.0.2.6:80")
}

func eventuallyAsked(t *testing.T, a *api, what string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !strings.Contains(a.log(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never asked for %s:\n%s", what, a.log())
		}
	}
}

// kubernetesAPI answers like an API server of version 1.30: a list, or a watch of which the test decides when it says something.
func kubernetesAPI(a *api, w http.ResponseWriter, r *http.Request) {
	index, state, changed := a.now()
	if r.URL.Query().Get("watch") == "" {
		fmt.Fprintf(w, `{"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {"resourceVersion": "%d"}, "items": [%s]}`, index, state)
		return
	}
	if r.URL.Query().Get("resourceVersion") != strconv.Itoa(index) { // too old
		fmt.Fprintln(w, `{"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}}`)
		return
	}
	w.(http.Flusher).Flush()
	select {
	case <-changed:
		fmt.Fprintln(w, `{"type": "MODIFIED", "object": {"kind": "EndpointSlice", "metadata": {"name": "web-abc"}}}`)
	case <-r.Context().Done():
	}
}

func endpoints(ports string, list ...string) string {
	return `{"metadata": {"name": "web-abc", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4", "ports": [` + ports + `], "endpoints": [` + strings.Join(list, ",") + `]}`
}

func endpoint(address, ready, zone string) string {
	return fmt.Sprintf(`{"addresses": [%q], "conditions": {"ready": %s, "serving": true, "terminating": false}, "nodeName": "n", "zone": %q, "targetRef": {"kind": "Pod"}}`, address, ready, zone)
}

const httpPort, metricsPort = `{"name": "http", "port": 8080, "protocol": "TCP"}`, `{"name": "metrics", "port": 9090, "protocol": "TCP"}`

func TestKubernetes(t *testing.T) {
	a := startAPI(t, true, kubernetesAPI)
	a.state = endpoints(httpPort+","+metricsPort, endpoint("10.1.0.1", "true", "a"), endpoint("10.1.0.2", "false", "a"), endpoint("10.1.0.3", "null", "b")) + "," + endpoints(httpPort, endpoint("10.1.0.1", "true", "a"))
	dir := t.TempDir()
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.pem")
	os.WriteFile(token, []byte("one"), 0o600)
	os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600)
	d := config.Discovery{Type: "kubernetes", Service: "web", Namespace: "shop", PortName: "http", Address: a.URL + "/", TokenFile: token, CAFile: ca, Timeout: 20 * time.Second}
	_, targets := watch(t, d)
	if got, want := targets(), "10.1.0.1:8080 zone=a, 10.1.0.3:8080 zone=b"; got != want {
		t.Fatalf("targets are %q, want %q", got, want)
	}
	eventuallyAsked(t, a, "Bearer one /apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dweb&resourceVersion=10&timeoutSeconds=15&watch=1")
	os.WriteFile(token, []byte("two"), 0o600) // tokens are replaced
	a.set(endpoints(httpPort, endpoint("10.1.0.4", "true", "c")))
	eventually(t, targets, "10.1.0.4:8080 zone=c")
	eventuallyAsked(t, a, "Bearer two ")
	a.mu.Lock()
	a.index += 100 // the version is too old to watch from: it is listed again
	a.state = endpoints(httpPort, endpoint("10.1.0.5", "true", "c"))
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	eventually(t, targets, "10.1.0.5:8080 zone=c")
	a.set(endpoints(httpPort)) // nobody is ready: the last ones stay
	eventuallyAsked(t, a, "resourceVersion=111")
	if got := targets(); got != "10.1.0.5:8080 zone=c" {
		t.Errorf("an empty list left %q", got)
	}

	d.CAFile = ""
	if _, targets := watch(t, d); targets() != "" {
		t.Error("an API with a certificate of nobody's was believed")
	}
	d.CAFile, d.PortName = ca, ""
	a.set(endpoints(httpPort+","+metricsPort, endpoint("10.1.0.1", "true", "a")))
	if _, targets := watch(t, d); targets() != "" {
		t.Errorf("one of two ports was taken: %s", targets())
	}
	a.set(endpoints(metricsPort, endpoint("10.1.0.1", "true", "a")))
	if _, targets := watch(t, d); targets() != "10.1.0.1:9090 zone=a" {
		t.Errorf("the only port was not taken: %s", targets())
	}
}

// A token goes to nobody else, and an answer that never ends is cut off.
func TestRegistryIsNotLedAstray(t *testing.T) {
	other := startAPI(t, false, consulAPI)
	other.state = "[" + instance("198.51.100.66", "", 80, 1) + "]"
	elsewhere := startAPI(t, false, func(_ *api, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusFound)
	})
	endless := startAPI(t, false, func(_ *api, w http.ResponseWriter, _ *http.Request) {
		for range maxAnswer/(1<<20) + 2 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	for name, a := range map[string]*api{"elsewhere": elsewhere, "endless": endless} {
		if _, targets := watch(t, config.Discovery{Type: "consul", Service: "web", Address: a.URL}); targets() != "" || other.log() != "" {
			t.Errorf("%s: %q, %q", name, targets(), other.log())
		}
	}
}
