package filter

import "fmt"

// Chain is the filters of one route, in the order the route lists them, for both directions. The nil Chain is empty.
type Chain struct {
	phases       Phase
	filters      []Filter
	request      []step[RequestFilter]
	requestBody  []step[RequestBodyFilter]
	response     []step[ResponseFilter]
	responseBody []step[ResponseBodyFilter]
	message      []step[MessageFilter]
	complete     []CompleteFilter
}

type step[F any] struct {
	name string
	f    F
}

// NewChain sorts filters by phase. It fails when a filter names a phase whose interface it does not implement.
func NewChain(filters ...Filter) (*Chain, error) {
	c := &Chain{filters: filters}
	for _, f := range filters {
		p, ok := f.Phases(), true
		c.phases |= p
		if p.Has(OnRequest) {
			c.request, ok = add(c.request, f, ok)
		}
		if p.Has(OnRequestBody) {
			c.requestBody, ok = add(c.requestBody, f, ok)
		}
		if p.Has(OnResponse) {
			c.response, ok = add(c.response, f, ok)
		}
		if p.Has(OnResponseBody) {
			c.responseBody, ok = add(c.responseBody, f, ok)
		}
		if p.Has(OnMessage) {
			c.message, ok = add(c.message, f, ok)
		}
		if p.Has(OnComplete) {
			g, is := f.(CompleteFilter)
			c.complete, ok = append(c.complete, g), ok && is
		}
		if !ok {
			return nil, fmt.Errorf("cannot build filter chain: filter %q names a phase it does not implement", f.Name())
		}
	}
	return c, nil
}

func add[F any](steps []step[F], f Filter, ok bool) ([]step[F], bool) {
	g, is := f.(F)
	return append(steps, step[F]{f.Name(), g}), ok && is
}

// Phases returns the union of the phases of all filters.
func (c *Chain) Phases() Phase {
	if c == nil {
		return 0
	}
	return c.phases
}

// Filters returns the filters in order; the caller does not change it.
func (c *Chain) Filters() []Filter {
	if c == nil {
		return nil
	}
	return c.filters
}

// Request runs the request phase until a filter does not continue.
func (c *Chain) Request(x *Exchange) Decision {
	for i := range c.request {
		if d := c.request[i].f.Request(x); d.Action != ActionContinue {
			return decided(d, c.request[i].name)
		}
	}
	return Continue()
}

// RequestBody runs one piece of the request body through the chain.
func (c *Chain) RequestBody(x *Exchange, chunk []byte, last bool) Decision {
	for i := range c.requestBody {
		if d := c.requestBody[i].f.RequestBody(x, chunk, last); d.Action != ActionContinue {
			return decided(d, c.requestBody[i].name)
		}
	}
	return Continue()
}

// Response runs the response phase.
func (c *Chain) Response(x *Exchange) Decision {
	for i := range c.response {
		if d := c.response[i].f.Response(x); d.Action != ActionContinue {
			return decided(d, c.response[i].name)
		}
	}
	return Continue()
}

// ResponseBody runs one piece of the response body through the chain.
func (c *Chain) ResponseBody(x *Exchange, chunk []byte, last bool) Decision {
	for i := range c.responseBody {
		if d := c.responseBody[i].f.ResponseBody(x, chunk, last); d.Action != ActionContinue {
			return decided(d, c.responseBody[i].name)
		}
	}
	return Continue()
}

// Complete tells every observer how the exchange ended.
func (c *Chain) Complete(x *Exchange, o *Outcome) {
	for _, f := range c.complete {
		f.Complete(x, o)
	}
}

func decided(d Decision, by string) Decision {
	if d.By == "" {
		d.By = by
	}
	return d.check()
}
