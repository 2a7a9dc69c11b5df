package build

import (
	"reflect"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// applyPolicies gives a listener that has policies its own view of the routes: what a route does not say comes from the listener, and the
// listener's edits of headers are made before the route's. It is done here, once, so that serving a request does not pay for it.
func applyPolicies(l *server.Listener, routes []server.Route) error {
	p := &l.Policies
	if reflect.ValueOf(p).Elem().IsZero() {
		return nil
	}
	request, err := filter.CompileRules(p.RequestHeaders)
	if err != nil {
		return err
	}
	if l.ResponseRules, err = filter.CompileRules(p.ResponseHeaders); err != nil {
		return err
	}
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
