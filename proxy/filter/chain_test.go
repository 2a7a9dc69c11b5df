package filter

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

type fixed struct {
	name   string
	phases Phase
	answer Decision
	calls  *[]string
}

func (f fixed) Name() string  { return f.name }
func (f fixed) Phases() Phase { return f.phases }
func (f fixed) Request(*Exchange) Decision {
	*f.calls = append(*f.calls, f.name)
	return f.answer
}

func TestChainOrder(t *testing.T) {
	t.Parallel()
	var calls []string
	mk := func(name string, d Decision) Filter { return fixed{name, OnRequest, d, &calls} }
	c, err := NewChain(mk("a", Continue()), mk("b", Respond(403, nil)), mk("c", Continue()))
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Request(nil); d.By != "b" || d.Status != 403 || len(calls) != 2 {
		t.Error(d, calls)
	}
	if c.Phases() != OnRequest || (*Chain)(nil).Phases() != 0 {
		t.Error("phases")
	}
}

func TestChainRefusesMissingInterface(t *testing.T) {
	t.Parallel()
	if _, err := NewChain(fixed{name: "x", phases: OnRequest | OnResponse}); err == nil {
		t.Error("a filter without Response claims the phase")
	}
}

// A decision that cannot be carried out becomes an error, never a pass.
func TestUnusableDecisions(t *testing.T) {
	t.Parallel()
	for _, d := range []Decision{{}, Respond(0, nil), Respond(101, nil), Respond(1000, nil), Redirect(200, "/x"), Redirect(302, ""), Redirect(302, "/x\r\nEvil: 1"), {Action: 99}} {
		var calls []string
		c, _ := NewChain(fixed{"f", OnRequest, d, &calls})
		if got := c.Request(nil); got.Action != ActionRespond || got.Status != 500 {
			t.Errorf("%+v became %+v", d, got)
		}
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	var pool Pool
	ap := netip.MustParseAddrPort("10.0.0.1:5")
	var r http1.Request
	if _, refusal := r.Parse([]byte("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"), nil); refusal != nil {
		t.Fatal(refusal)
	}
	facts := Facts{RequestID: []byte("id"), Peer: ap, Client: ap, Listener: "l", Route: "r", Path: []byte("/a"), Request: &r, Deadline: time.Now().Add(time.Hour)}
	x := pool.New(&facts)
	if string(x.RequestID()) != "id" || string(x.Method()) != "GET" || string(x.Query()) != "b" || x.RequestLength() != 0 || x.Client() != ap {
		t.Error("facts lost")
	}
	ctx := x.Context()
	gone := errors.New("gone")
	x.Cancel(gone)
	if context.Cause(ctx) != gone {
		t.Error(context.Cause(ctx))
	}
	pool.Put(x)
	y := pool.New(&facts)
	y.Cancel(gone)
	if ctx := y.Context(); context.Cause(ctx) != gone {
		t.Error("a context made after Cancel lives")
	}
	pool.Put(y)
	z := pool.New(&facts)
	ctx = z.Context()
	pool.Put(z)
	if ctx.Err() == nil {
		t.Error("a context outlives its exchange")
	}
	defer func() {
		if recover() == nil {
			t.Error("a half-filled exchange exists")
		}
	}()
	facts.Route = ""
	pool.New(&facts)
}
