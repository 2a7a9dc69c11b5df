package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// callContext is the context of one handler. It is made for every event, so it costs nothing until somebody asks for its channel or logger.
type callContext struct {
	mu     sync.Mutex // guards everything below
	done   chan struct{}
	err    error
	logger *slog.Logger
}

func (c *callContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *callContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
}

func (c *callContext) Value(any) any { return nil }

// Value gives the logger of the event. The correlation id begins with the request id when the proxy is ours; for the head of a request it is added as such.
func (e *event) Value(key any) any {
	if _, ok := key.(loggerKey); !ok {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.logger == nil {
		e.logger = e.p.s.log.With("correlation_id", e.id)
		if r, ok := e.msg.(*protocol.RequestHeaders); ok && r.Metadata.RequestID != "" {
			e.logger = e.logger.With("request_id", r.Metadata.RequestID)
		}
	}
	return e.logger
}
