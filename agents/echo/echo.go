package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// echo is the agent. Handlers run concurrently, so what they share is atomic.
type echo struct {
	version string
	config  atomic.Pointer[config]

	requests  atomic.Uint64
	completed atomic.Uint64
	bodyBytes atomic.Uint64
	messages  atomic.Uint64
}

// config is the agent's configuration, as the README explains it.
type config struct {
	Prefix   string `json:"prefix"`
	Messages words  `json:"messages"`
}

// words in a text message of a WebSocket decide what becomes of it; "" is in none.
type words struct {
	Drop  string `json:"drop"`
	Close string `json:"close"`
	Mask  string `json:"mask"`
}

func newEcho(version string) *echo {
	e := &echo{version: version}
	e.config.Store(&config{Prefix: "X-Echo-"})
	return e
}

// Name and Request are all an agent must have.
func (e *echo) Name() string { return "echo" }

// Request answers the head of a request: it may pass, and what was seen is written into the request and into the response.
func (e *echo) Request(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	prefix := e.config.Load().Prefix
	number := strconv.FormatUint(e.requests.Add(1), 10)
	ops := []protocol.HeaderOp{
		protocol.Set(prefix+"Agent", e.Name()),
		protocol.Set(prefix+"Correlation-Id", fieldValue(r.Metadata.CorrelationID)),
		protocol.Set(prefix+"Request-Num", number),
		protocol.Set(prefix+"Method", fieldValue(r.Method)),
		protocol.Set(prefix+"Path", fieldValue(r.Path())),
	}
	return protocol.Allow().WithRequestHeaders(ops...).WithResponseHeaders(ops...).WithTags("echo"), nil
}

// RequestBody answers one chunk of a request body.
func (e *echo) RequestBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	e.bodyBytes.Add(uint64(len(c.Data)))
	return protocol.Allow(), nil
}

// Response answers the head of a response.
func (e *echo) Response(_ context.Context, r *protocol.ResponseHeaders) (protocol.Verdict, error) {
	return protocol.Allow().WithResponseHeaders(protocol.Set(e.config.Load().Prefix+"Status", strconv.Itoa(r.Status))), nil
}

// ResponseBody answers one chunk of a response body.
func (e *echo) ResponseBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	e.bodyBytes.Add(uint64(len(c.Data)))
	return protocol.Allow(), nil
}

// WebSocketFrame answers one message of a WebSocket, from either side.
func (e *echo) WebSocketFrame(_ context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
	e.messages.Add(1)
	w := e.config.Load().Messages
	if f.Opcode != protocol.OpText {
		return protocol.Allow(), nil
	}
	switch has := func(word string) bool { return word != "" && bytes.Contains(f.Data, []byte(word)) }; {
	case has(w.Close):
		return protocol.CloseSocket(1008, "not here").WithReasons("close_word"), nil
	case has(w.Drop):
		return protocol.DropMessage().WithReasons("drop_word"), nil
	case has(w.Mask):
		return protocol.ReplaceMessage(bytes.ReplaceAll(f.Data, []byte(w.Mask), []byte(strings.Repeat("*", len(w.Mask))))).WithReasons("mask_word"), nil
	}
	return protocol.Allow(), nil
}

// Complete hears how an exchange ended.
func (e *echo) Complete(ctx context.Context, c *protocol.RequestComplete) {
	e.completed.Add(1)
	agent.Logger(ctx).Debug("complete", "status", c.Status, "duration_ms", c.DurationMillis, "attempts", c.UpstreamAttempts)
}

// Configure takes a configuration or refuses it and changes nothing.
func (e *echo) Configure(_ context.Context, text json.RawMessage) error {
	c := config{Prefix: "X-Echo-"}
	if err := agent.DecodeConfig(text, &c); err != nil {
		return err
	}
	if c.Prefix == "" || len(c.Prefix) > 64 || strings.ContainsFunc(c.Prefix, notToken) {
		return fmt.Errorf("prefix: %q cannot begin a header name", c.Prefix)
	}
	e.config.Store(&c)
	return nil
}

// Version is told to the proxy.
func (e *echo) Version() string { return e.version }

// Limits asks for little: this agent only counts bodies.
func (e *echo) Limits() protocol.Limits {
	l := protocol.DefaultLimits()
	l.MaxBodySize = 1 << 20
	return l
}

// Health is asked every few seconds.
func (e *echo) Health() (protocol.Health, string) { return protocol.Healthy, "" }

// Metrics is asked every ten seconds.
func (e *echo) Metrics() protocol.MetricsReport {
	return protocol.MetricsReport{Counters: []protocol.Sample{
		{Name: "echo_requests_total", Help: "Request heads answered.", Value: float64(e.requests.Load())},
		{Name: "echo_completed_total", Help: "Exchanges that ended.", Value: float64(e.completed.Load())},
		{Name: "echo_messages_total", Help: "Messages and control frames of WebSockets answered.", Value: float64(e.messages.Load())},
		{Name: "echo_body_bytes_total", Help: "Bytes of bodies seen, both ways.", Value: float64(e.bodyBytes.Load())},
	}}
}

// Start runs before the first connection; what it starts ends with ctx.
func (e *echo) Start(_ context.Context, log *slog.Logger) error {
	log.Debug("echo starts", "prefix", e.config.Load().Prefix)
	return nil
}

// Close runs after the last handler.
func (e *echo) Close() error { return nil }

// Reopen runs on SIGUSR1; an agent with files of its own opens them again here.
func (e *echo) Reopen() error { return nil }

// maxValue keeps a long path from growing the head beyond an upstream's limit.
const maxValue = 1024

// fieldValue makes text fit for a header field: what comes from a client is never copied into one unseen.
func fieldValue(text string) string {
	if len(text) > maxValue {
		text = text[:maxValue]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// notToken reports whether r cannot be in a header name (RFC 9110 section 5.6.2).
func notToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
