package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// settled is how long a connection must live, without having answered anything, for the next loss to count as the first one.
const settled = time.Second

// tick is how often a connection is looked at for a ping.
const tick = protocol.PongTimeout / 2

// maintain keeps one connection to the agent, for ever: a lost one is dialled again at once, then after growing, jittered pauses.
func (c *Client) maintain() {
	failures := 0
	for c.ctx.Err() == nil {
		cn, err := c.connect()
		if err == nil {
			err = c.serve(cn)
			if cn.answered.Load() || time.Since(cn.made) >= settled {
				failures = 0
			}
			c.stats.reconnects.Add(1)
		}
		if c.ctx.Err() != nil {
			return
		}
		c.note(err)
		if failures > 0 && !sleep(c.ctx, backoff(failures)) {
			return
		}
		failures++
	}
}

// note records a failure to connect, or the end of a connection (nil = drained).
func (c *Client) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	if err != nil {
		if c.lastErr == nil || c.lastErr.Error() != err.Error() {
			c.log.Warn("agent connection ended", "error", err)
		}
		c.lastErr = err
		var refused *RefusedError
		if errors.As(err, &refused) {
			c.refused = refused
		}
	}
	c.notify()
}

// backoff is the pause before the attempt after n failures in a row: between half and all of an exponentially growing time.
func backoff(n int) time.Duration {
	d := min(protocol.ReconnectBase<<min(n-1, 20), protocol.ReconnectMax)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect dials the agent and does the handshake.
func (c *Client) connect() (*conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, protocol.HandshakeTimeout)
	defer cancel()
	nc, err := c.opt.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to agent: %w", err)
	}
	nc = wire.Quiet(nc)
	c.configured.RLock()
	defer c.configured.RUnlock()
	unblock := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	cn, err := c.handshake(nc)
	if !unblock() && err == nil {
		err = ctx.Err() // the deadline fell between the last byte and here
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("cannot shake hands with agent: %w", err)
	}
	return cn, nil
}

func (c *Client) handshake(nc net.Conn) (*conn, error) {
	offer := []protocol.Encoding{protocol.MsgPack, protocol.JSON}
	if c.jsonOnly.Load() {
		offer = []protocol.Encoding{protocol.JSON}
	}
	config := c.Config()
	hello, err := wire.AppendFrame(nil, wire.Format{Grease: true}, &protocol.HandshakeRequest{SupportedVersions: []int{protocol.Version},
		ProxyID: c.opt.ProxyID, ProxyVersion: c.opt.ProxyVersion, Config: config, SupportedEncodings: offer})
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(hello); err != nil {
		return nil, err
	}
	r := wire.NewReader(wire.Source(nc))
	r.Limit = protocol.MaxHandshake
	t, payload, err := r.Next()
	if err != nil {
		return nil, err
	}
	r.Limit = protocol.MaxFrame
	if t != protocol.TypeHandshakeResponse {
		return nil, fmt.Errorf("%w: frame type %#x before the handshake", ErrProtocol, byte(t))
	}
	var resp protocol.HandshakeResponse
	if err := wire.Decode(protocol.JSON, payload, &resp); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	if resp.Encoding == "" {
		resp.Encoding = protocol.JSON
	}
	switch {
	case !resp.Success:
		return nil, &RefusedError{c.opt.Name, resp.Error}
	case resp.Version != protocol.Version:
		return nil, fmt.Errorf("%w: protocol version %d", ErrProtocol, resp.Version)
	case !slices.Contains(offer, resp.Encoding):
		return nil, fmt.Errorf("%w: encoding %q was not offered", ErrProtocol, resp.Encoding)
	}
	cn := newConn(c, nc, r, resp.Encoding)
	cn.config = config
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caps, c.encoding, c.connected, c.refused, c.health, c.lastErr = resp.Capabilities, resp.Encoding, true, nil, protocol.Healthy, nil
	c.applyLimits()
	return cn, nil
}

var errStale = errors.New("configuration changed during the handshake")

// serve runs a connection until it ends and returns why; a drained one is left to finish in the background, so that its successor is made at once.
func (c *Client) serve(cn *conn) error {
	c.work.Go(cn.w.Run)
	c.work.Go(cn.readInBackground)
	if !c.join(cn) {
		cn.close(errStale)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-cn.gone:
			return cn.dead
		case <-c.ctx.Done():
			cn.close(ErrClosed)
			return ErrClosed
		case <-cn.drains:
			c.work.Go(func() { c.retire(cn) })
			return nil
		case now := <-ticker.C:
			if err := cn.ping(now); err != nil {
				cn.close(err)
			}
		}
	}
}

// retire waits until a draining connection has nothing left, or too long, and closes it.
func (c *Client) retire(cn *conn) {
	timer := time.NewTimer(protocol.DrainTimeout)
	defer timer.Stop()
	select {
	case <-cn.drained:
	case <-timer.C:
	case <-cn.gone:
	case <-c.ctx.Done():
	}
	cn.close(ErrClosed)
}
