package suite

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// kdl is the configuration: detection, so that every rule has its say.
const kdl = `listeners { listener "http" { address "127.0.0.1:%d"; protocol "http" } }
routes { route "app" { matches { path-prefix "/" }; upstream "app"; filters "waf" } }
upstreams { upstream "app" { target %q } }
agents {
    agent "waf" type="waf" {
        unix-socket %q
        events "request_headers" "request_body" "response_headers" "response_body" "request_complete"
        timeout-ms 10000
        chunk-timeout-ms 10000
        config {
            mode "detection"
            paranoia-level 4
            inspect-responses #true
            audit-log %q
            custom-rules-directory %q
        }
    }
}
`

// reflect answers what the body of a request to /reflect asks for; the suite's tests of responses need it. Everything else is answered with an empty 200.
func reflect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-App", "1")
	if r.URL.Path != "/reflect" {
		return
	}
	var spec struct {
		Status      int               `json:"status"`
		Headers     map[string]string `json:"headers"`
		Body        string            `json:"body"`
		EncodedBody string            `json:"encodedBody"`
	}
	if json.NewDecoder(r.Body).Decode(&spec) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for name, value := range spec.Headers {
		w.Header().Set(name, value)
	}
	if spec.Status == 0 {
		spec.Status = 200
	}
	w.WriteHeader(spec.Status)
	body := []byte(spec.Body)
	if spec.EncodedBody != "" {
		body, _ = base64.StdEncoding.DecodeString(spec.EncodedBody)
	}
	_, _ = w.Write(body)
}
