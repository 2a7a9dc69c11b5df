package ruleset

import (
	"net"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Match is one rule that fired.
type Match struct {
	ID       int
	Phase    int // 1 request head, 2 request body, 3 response head, 4 response body
	Message  string
	Severity string
	Tags     []string
	Places   []Place
	Data     string // what the rule says it found, and where
}

// Place is where a rule found something.
type Place struct{ Variable, Key, Value string }

// Refusal is what the rules want done.
type Refusal struct {
	Rule   int
	Status int
}

// Exchange is one request and its response on their way through the rules. Its methods are not safe for concurrent use; Close must be called.
type Exchange struct {
	set  *Set
	tx   types.Transaction
	seen int // matches already told
	body bool
}

// Begin starts an exchange with the head of a request and runs the rules of phase 1. When more of the request cannot change the outcome a refusal is returned.
func (s *Set) Begin(r *protocol.RequestHeaders) (*Exchange, *Refusal) {
	x := &Exchange{set: s, tx: s.engine.NewTransactionWithID(strings.Clone(r.Metadata.CorrelationID))}
	x.tx.ProcessConnection(r.Metadata.ClientIP, int(r.Metadata.ClientPort), "", 0)
	x.tx.ProcessURI(r.URI, r.Method, versionOf(r))
	for _, h := range r.Headers {
		x.tx.AddRequestHeader(h.Name, h.Value)
		if h.Name == "host" {
			x.tx.SetServerName(hostOf(h.Value))
		}
	}
	return x, x.refusal(x.tx.ProcessRequestHeaders())
}

func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}

// Write gives the exchange more of the request's body. Beyond the limit it refuses, or stops looking, as configured.
func (x *Exchange) Write(data []byte) (*Refusal, error) {
	x.body = true
	it, _, err := x.tx.WriteRequestBody(data)
	return x.refusal(it), err
}

// EndRequest runs the rules of phase 2 on everything so far.
func (x *Exchange) EndRequest() (*Refusal, error) {
	it, err := x.tx.ProcessRequestBody()
	return x.refusal(it), err
}

// Response runs the rules of phase 3 on the head of a response.
func (x *Exchange) Response(r *protocol.ResponseHeaders) *Refusal {
	for _, h := range r.Headers {
		x.tx.AddResponseHeader(h.Name, h.Value)
	}
	return x.refusal(x.tx.ProcessResponseHeaders(r.Status, "HTTP/1.1"))
}

// WriteResponse gives the exchange more of the response's body; what is of another media type than the inspected ones is ignored.
func (x *Exchange) WriteResponse(data []byte) (*Refusal, error) {
	if !x.tx.IsResponseBodyProcessable() {
		return nil, nil
	}
	it, _, err := x.tx.WriteResponseBody(data)
	return x.refusal(it), err
}

// EndResponse runs the rules of phase 4.
func (x *Exchange) EndResponse() (*Refusal, error) {
	it, err := x.tx.ProcessResponseBody()
	return x.refusal(it), err
}

func (x *Exchange) refusal(it *types.Interruption) *Refusal {
	if it == nil || x.set.Config.Mode == Detection {
		return nil
	}
	status := it.Status
	if status < 400 || status > 599 || status == 403 {
		status = x.set.Config.Status
	}
	return &Refusal{Rule: it.RuleID, Status: status}
}

// initialisation is the block of ids, divided by 1000, of the Core Rule Set's rules that prepare and judge nothing.
const initialisation = 901

// Matches returns the rules that fired since the last call and have something to say.
func (x *Exchange) Matches() []Match {
	all := x.tx.MatchedRules()
	var out []Match
	for _, m := range all[min(x.seen, len(all)):] {
		r := m.Rule()
		if id := r.ID(); m.Message() == "" || id/1000 == initialisation {
			continue
		}
		match := Match{ID: r.ID(), Phase: int(r.Phase()), Message: m.Message(), Severity: r.Severity().String(), Tags: r.Tags(), Data: m.Data()}
		for _, d := range m.MatchedDatas() {
			match.Places = append(match.Places, Place{Variable: d.Variable().Name(), Key: d.Key(), Value: d.Value()})
		}
		out = append(out, match)
	}
	x.seen = len(all)
	return out
}

// Score returns the anomaly scores so far.
func (x *Exchange) Score() (inbound, outbound int) {
	state, ok := x.tx.(plugintypes.TransactionState)
	if !ok {
		return 0, 0
	}
	get := func(name string) int {
		if v := state.Variables().TX().Get(name); len(v) > 0 {
			n, _ := strconv.Atoi(v[0])
			return n
		}
		return 0
	}
	return get("blocking_inbound_anomaly_score"), get("blocking_outbound_anomaly_score")
}

// Close ends the exchange.
func (x *Exchange) Close() { _ = x.tx.Close() }
