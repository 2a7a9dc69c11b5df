package build

import (
	"fmt"
	"reflect"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// applyPolicies gives a listener that has policies its own view of the routes: what a route does not say comes from the listener, and the
// listener's edits of headers are made before the route's. It is done here, once, so that serving a request does not pay for it.
func applyPolicies(l *server.Listener, routes []server.Route) error {
	p := &l.Policies
	advert, err := filter.CompileRules(altSvc(l))
	if err != nil {
		return err
	}
	if advert == nil && reflect.ValueOf(p).Elem().IsZero() {
		return nil
	}
	request, err := filter.CompileRules(p.RequestHeaders)
	if err != nil {
		return err
	}
	if l.ResponseRules, err = filter.CompileRules(p.ResponseHeaders); err != nil {
		return err
	}
	l.ResponseRules = advert.Then(l.ResponseRules)
	l.Routes = make([]server.Route, len(routes))
	for i, r := range routes {
		if r.Timeout == 0 {
			r.Timeout = p.Timeout
		}
		if r.MaxBodySize == 0 {
			r.MaxBodySize = p.MaxBodySize
		}
		if r.OnFailure == "" {
			r.OnFailure = p.FailureMode
		}
		r.RequestRules = request.Then(r.RequestRules)
		r.ResponseRules = l.ResponseRules.Then(r.ResponseRules)
		l.Routes[i] = r
	}
	return nil
}

// altSvc tells clients that there is HTTP/3 (RFC 9114 §3.1.1). It is an edit like any other, made first, so policies can take it back.
func altSvc(l *server.Listener) (rules config.HeaderRules) {
	h := &l.HTTP3
	if !h.Enabled || h.AltSvcMaxAge <= 0 {
		return rules
	}
	port := h.AdvertisePort
	if port == 0 {
		port = int(l.Address.AddrPort.Port())
	}
	if port == 0 { // the kernel chooses: nobody is told
		return rules
	}
	rules.Set = append(rules.Set, config.NameValue{Name: "Alt-Svc", Value: fmt.Sprintf(`h3=":%d"; ma=%d`, port, h.AltSvcMaxAge/time.Second)})
	return rules
}
