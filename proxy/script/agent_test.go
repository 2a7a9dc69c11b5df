package script

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// inProcessAgent serves one agent inside the test. Its socket is $NAME.
//
//	agent NAME                       start it
//	agent NAME also OTHER            another path to the same socket, $OTHER
//	agent NAME stop | start          stop ends its connections; start listens on the same socket again
//	agent NAME slow D                think for D before each verdict from now on; "slow 0" ends it
//	agent NAME broken | sound        fail each event from now on, or not
//	agent NAME forget                forget what it was told
//	agent NAME count EVENT OP N      how many events of a kind it got: request, request-body, response, response-body, websocket, complete, config
//	agent NAME got EVENT TEXT...     the last event of the kind contains the texts
//	agent NAME chunks EVENT OP N     the largest body piece of the kind, in bytes
//	agent NAME most OP N             how many events were at work at the same time, at most
//
// The verdict is in the path of the request:
//
//	/block     403, a header and a body        /redirect  302 to https://elsewhere.example/
//	/captcha   a challenge                     /basic     a challenge of HTTP
//	/mutate    changes headers both ways       /absurd    a verdict that cannot be carried out
//	/response  its answer is blocked           /fail      no verdict
//
// Bodies that hold the word "evil" are blocked, and end a WebSocket as messages; those with "spam" are dropped, and "secret" is masked.
type inProcessAgent struct {
	name, socket string

	mu      sync.Mutex // guards the rest
	server  *agent.Server
	served  chan error
	slow    time.Duration
	broken  bool
	events  map[string][]string
	largest map[string]int
	active  int
	most    int
	paths   map[string]string // of exchanges under way, by correlation id
}

func (c call) agent(args []string) error {
	if len(args) == 0 {
		return usage("agent NAME ...")
	}
	name, args := args[0], args[1:]
	c.mu.Lock()
	a := c.agents[name]
	c.mu.Unlock()
	if a == nil {
		if len(args) > 0 {
			return usage("no agent " + name)
		}
		a = &inProcessAgent{name: name, socket: filepath.Join(c.run, name+".sock"), events: map[string][]string{}, largest: map[string]int{}, paths: map[string]string{}}
		c.mu.Lock()
		c.agents[name] = a
		c.mu.Unlock()
		c.set(name, a.socket)
		return a.start()
	}
	if len(args) == 0 {
		return usage("agent " + name + " exists")
	}
	switch args[0] {
	case "stop":
		a.stop()
		return nil
	case "start":
		return a.start()
	case "also":
		if len(args) != 2 {
			return usage("agent NAME also OTHER")
		}
		link := filepath.Join(c.run, args[1]+".sock")
		c.set(args[1], link)
		return os.Symlink(a.socket, link)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told(args)
}

func (a *inProcessAgent) told(args []string) (err error) {
	switch {
	case args[0] == "slow" && len(args) == 2:
		a.slow, err = time.ParseDuration(args[1])
	case args[0] == "broken" || args[0] == "sound":
		a.broken = args[0] == "broken"
	case args[0] == "forget":
		a.events, a.largest, a.most = map[string][]string{}, map[string]int{}, 0
	case args[0] == "most" && len(args) == 3:
		err = compare(float64(a.most), args[1], args[2])
	case len(args) < 3:
		err = usage("agent NAME " + args[0])
	case args[0] == "count" && len(args) == 4:
		err = compare(float64(len(a.events[args[1]])), args[2], args[3])
	case args[0] == "chunks" && len(args) == 4:
		err = compare(float64(a.largest[args[1]]), args[2], args[3])
	case args[0] == "got":
		list := a.events[args[1]]
		if len(list) == 0 {
			return errors.New("no such event")
		}
		err = holds(list[len(list)-1], args[2:])
	default:
		err = usage("agent NAME " + args[0])
	}
	return err
}

func (a *inProcessAgent) start() error {
	ln, err := net.Listen("unix", a.socket)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = agent.NewServer(a, slog.New(slog.DiscardHandler))
	a.served = make(chan error, 1)
	server, served := a.server, a.served
	go func() { served <- server.Serve(ln) }()
	return nil
}

func (a *inProcessAgent) stop() {
	a.mu.Lock()
	server, served := a.server, a.served
	a.server = nil
	a.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // at once, as if it had died
	_ = server.Shutdown(ctx)
	<-served
}

// begin notes an event and behaves as the agent was told. The returned function ends it.
func (a *inProcessAgent) begin(ctx context.Context, event, text string) (end func(), err error) {
	a.mu.Lock()
	a.events[event] = append(a.events[event], text)
	a.active++
	a.most = max(a.most, a.active)
	slow := a.slow
	if a.broken {
		err = errors.New("broken on purpose")
	}
	a.mu.Unlock()
	if slow > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(slow):
		}
	}
	return func() {
		a.mu.Lock()
		a.active--
		a.mu.Unlock()
	}, err
}

func (a *inProcessAgent) Name() string { return a.name }

func (a *inProcessAgent) Request(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	end, err := a.begin(ctx, "request", fmt.Sprintf("%s %s %v %+v", r.Method, r.URI, r.Headers, r.Metadata))
	defer end()
	if err != nil {
		return protocol.Verdict{}, err
	}
	a.mu.Lock()
	a.paths[r.Metadata.CorrelationID] = strings.Clone(r.Path())
	a.mu.Unlock()
	switch r.Path() {
	case "/block":
		return protocol.Block(403, protocol.Headers{{Name: "x-why", Value: "script"}}, []byte("stopped here")).WithTags("tag-of-script").WithRules("rule-7"), nil
	case "/redirect":
		return protocol.Redirect("https://elsewhere.example/", 302), nil
	case "/captcha":
		return protocol.Challenge("captcha", protocol.Header{Name: "site", Value: "s1"}), nil
	case "/basic":
		return protocol.Challenge("basic", protocol.Header{Name: "realm", Value: "gate"}), nil
	case "/mutate":
		return protocol.Allow().WithRequestHeaders(protocol.Set("X-Set", "by-agent"), protocol.Add("X-Add", "two"), protocol.Remove("X-Gone")).
			WithResponseHeaders(protocol.Set("X-Answer", "by-agent"), protocol.Remove("X-Secret")), nil
	case "/absurd":
		return protocol.Allow().WithRequestHeaders(protocol.Set("Content-Length", "1")), nil
	case "/fail":
		return protocol.Verdict{}, errors.New("no idea")
	}
	return protocol.Allow().WithTags("passed"), nil
}

func (a *inProcessAgent) body(ctx context.Context, event string, b *protocol.BodyChunk) (protocol.Verdict, error) {
	end, err := a.begin(ctx, event, fmt.Sprintf("%s last=%v total=%d", b.Data, b.Last, b.TotalSize))
	defer end()
	a.mu.Lock()
	a.largest[event] = max(a.largest[event], len(b.Data))
	a.mu.Unlock()
	if err != nil {
		return protocol.Verdict{}, err
	}
	if strings.Contains(string(b.Data), "evil") {
		return protocol.Block(403, nil, []byte("evil body")), nil
	}
	return protocol.Allow(), nil
}

func (a *inProcessAgent) RequestBody(ctx context.Context, b *protocol.BodyChunk) (protocol.Verdict, error) {
	return a.body(ctx, "request-body", b)
}

func (a *inProcessAgent) ResponseBody(ctx context.Context, b *protocol.BodyChunk) (protocol.Verdict, error) {
	return a.body(ctx, "response-body", b)
}

func (a *inProcessAgent) Response(ctx context.Context, r *protocol.ResponseHeaders) (protocol.Verdict, error) {
	end, err := a.begin(ctx, "response", fmt.Sprintf("%d %v", r.Status, r.Headers))
	defer end()
	if err != nil {
		return protocol.Verdict{}, err
	}
	a.mu.Lock()
	path := a.paths[r.CorrelationID]
	a.mu.Unlock()
	if path == "/response" {
		return protocol.Block(451, nil, []byte("not this answer")), nil
	}
	return protocol.Allow().WithResponseHeaders(protocol.Set("X-Seen-Status", fmt.Sprint(r.Status))), nil
}

// WebSocketFrame judges messages by words in them.
func (a *inProcessAgent) WebSocketFrame(ctx context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
	end, err := a.begin(ctx, "websocket", fmt.Sprintf("%s %v %d %s %s %s", f.Opcode, f.FromClient, f.Index, f.RouteID, f.ClientIP, f.Data))
	defer end()
	if err != nil {
		return protocol.Verdict{}, err
	}
	switch text := string(f.Data); {
	case strings.Contains(text, "evil"):
		return protocol.CloseSocket(4000, "evil").WithRules("rule-ws"), nil
	case strings.Contains(text, "spam"):
		return protocol.DropMessage(), nil
	case strings.Contains(text, "secret"):
		return protocol.ReplaceMessage([]byte(strings.ReplaceAll(text, "secret", "******"))), nil
	}
	return protocol.Allow(), nil
}

func (a *inProcessAgent) Complete(ctx context.Context, r *protocol.RequestComplete) {
	end, _ := a.begin(ctx, "complete", fmt.Sprintf("status=%d attempts=%d in=%d out=%d", r.Status, r.UpstreamAttempts, r.RequestBodySize, r.ResponseBodySize))
	end()
}

// Configure refuses what says so.
func (a *inProcessAgent) Configure(ctx context.Context, config json.RawMessage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events["config"] = append(a.events["config"], string(config))
	if strings.Contains(string(config), "refuse-me") {
		return errors.New("refused by the agent")
	}
	return nil
}
