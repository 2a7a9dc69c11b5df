// Package agent is the agent's side of the protocol: the Go SDK. An agent is a type with a name and a Request method, and a program of one line:
//
//	func main() { os.Exit(agent.Main(&denylist{})) }
//
// Flags, socket, handshake, configuration, concurrency, cancellation, drain, health, logs, readiness and watchdog live behind Main. More behaviour is
// added by implementing more of the small interfaces of this package; the capabilities told to the proxy are derived from them.
//
// Handlers of different requests run concurrently, up to the advertised limit; events of one request are handled one after the other, in order.
// The context of a handler ends when the proxy cancels the event, its connection dies or the drain deadline passes; Logger(ctx) gives a logger that carries the request id.
// A handler that returns an error, panics or returns the zero Verdict has not decided: the proxy is told so and applies the route's failure mode.
// Strings of an event share memory with the whole message: strings.Clone what is kept beyond the call.
package agent

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Agent is what every agent is.
type Agent interface {
	// Name is the agent's name in logs and in the handshake. It never changes.
	Name() string
	// Request judges the head of a request.
	Request(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error)
}

// Configurer is an agent that takes configuration. Configure gets JSON text, in the handshake of a connection and on reload, decodes it strictly (see
// DecodeConfig) and switches over completely or returns an error and changes nothing. Calls never overlap each other, but they do overlap Request.
// It is called only when the text differs from the last one accepted.
type Configurer interface {
	Configure(ctx context.Context, config json.RawMessage) error
}

// RequestBodyHandler is an agent that wants the chunks of request bodies.
type RequestBodyHandler interface {
	RequestBody(ctx context.Context, c *protocol.BodyChunk) (protocol.Verdict, error)
}

// ResponseHandler is an agent that wants the heads of responses.
type ResponseHandler interface {
	Response(ctx context.Context, r *protocol.ResponseHeaders) (protocol.Verdict, error)
}

// ResponseBodyHandler is an agent that wants the chunks of response bodies.
type ResponseBodyHandler interface {
	ResponseBody(ctx context.Context, c *protocol.BodyChunk) (protocol.Verdict, error)
}

// WebSocketHandler is an agent that judges the messages of WebSockets, in both directions, control frames included. It lets one pass with protocol.Allow, and changes what
// becomes of it with protocol.DropMessage, ReplaceMessage and CloseSocket. A WebSocket may live for hours: handlers of one are called one after the other.
type WebSocketHandler interface {
	WebSocketFrame(ctx context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error)
}

// CompleteHandler is an agent that wants to know how exchanges ended.
type CompleteHandler interface {
	Complete(ctx context.Context, c *protocol.RequestComplete)
}

// Versioned is an agent with a version of its own.
type Versioned interface {
	Version() string
}

// Limited is an agent with other limits than protocol.DefaultLimits.
type Limited interface {
	Limits() protocol.Limits
}

// HealthReporter is an agent that knows when it is unwell. Health is asked every few seconds and a change is told to the proxy at once.
type HealthReporter interface {
	Health() (state protocol.Health, message string)
}

// MetricsReporter is an agent with metrics of its own; the proxy exports them with the label agent. Metrics is asked every ten seconds.
type MetricsReporter interface {
	Metrics() protocol.MetricsReport
}

// Starter is an agent with work to do before the first connection. ctx ends when the agent stops.
type Starter interface {
	Start(ctx context.Context, log *slog.Logger) error
}

// Closer is an agent with something to close after the last handler has returned.
type Closer interface {
	Close() error
}

// Reopener is an agent that does something on SIGUSR1, such as opening its log files again.
type Reopener interface {
	Reopen() error
}

type loggerKey struct{}

// Logger returns the logger of the event being handled; it adds the correlation id to each record. Outside a handler it discards.
func Logger(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return l
	}
	return slog.New(slog.DiscardHandler)
}
