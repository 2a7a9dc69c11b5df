package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// upload streams a request body from the client to the upstream while the connection's own goroutine already reads the answer. That one waits for it in
// endUpload before it gives either connection away.
type upload struct {
	c        *conn
	w        *work
	done     chan struct{}
	goAhead  chan struct{} // closed when the body may be sent; nil when nobody waits for 100 (Continue)
	once     sync.Once
	stopping atomic.Bool

	stage    atomic.Uint32 // stageBody or stageSend (to the upstream), for the sweeper
	deadline atomic.Int64
	received atomic.Int64
	consumed atomic.Bool // the whole body was read; rest is valid
	complete atomic.Bool // and forwarded
	patience int64       // until when the head of the answer must be here
	keep     []byte      // what was sent so far, while all of it is within the replay buffer
	keeping  bool
	whole    atomic.Bool // keep holds the whole body
	failed   atomic.Bool // status, code and decision say what to answer; set before the upstream's side is woken

	speaking  sync.Mutex // held while an interim answer is written; guards final
	final     bool       // the final answer has begun
	filtering sync.Mutex // held while filters run

	// Valid once done is closed, or failed is set.
	status   int
	code     string
	decision filter.Decision
	decided  bool
	rest     []byte // bytes behind the body, in buf
	buf      *[largeBuffer]byte
	out      []byte
}

// continueWait is how long the upstream may keep a client waiting for 100 (Continue) before we answer it ourselves (RFC 9110 §10.1.1).
const continueWait = time.Second

func (c *conn) startUpload(w *work) {
	u := &upload{c: c, w: w, done: make(chan struct{}), patience: w.patience}
	u.keeping = w.route.Attempts > 1 && w.route.Retry.ReplayBuffer > 0 || w.route.Fallback != nil && w.route.Retry.ReplayBuffer > 0
	if w.expect {
		u.goAhead = make(chan struct{})
	}
	u.buf = c.s.large.Get().(*[largeBuffer]byte)
	g, req := w.gen, &w.req
	w.body.Init(req.Framing, req.ContentLength, http1.FromClient, &g.head)
	w.upload = u
	c.deadline.Store(w.patience) // the upstream may wait for the whole body
	c.upload.Store(u)
	go u.run()
}

func (u *upload) run() {
	defer close(u.done)
	defer u.arm(stageWork, 0) // the answer may take longer than the last of the body was allowed to
	defer func() {
		if p := recover(); p != nil {
			u.c.s.log.Error("request body filter failed", "panic", p, "request_id", string(u.w.id), "stack", stack())
			u.fail(500, "internal_error")
		}
	}()
	if !u.awaitGoAhead() {
		return
	}
	w := u.w
	src := w.in[w.start+w.headLen : w.end]
	for {
		consumed, data, done, refusal := w.body.Next(src)
		if refusal != nil {
			u.c.s.countRefusal(refusal)
			u.fail(refusal.Status, refusal.Code)
			return
		}
		src = src[consumed:]
		if done { // before the last bytes go out: the answer may be here as soon as they are
			u.rest = src
			u.consumed.Store(true)
		}
		if !u.forward(data, done) {
			return
		}
		if done {
			u.complete.Store(true)
			u.c.deadline.CompareAndSwap(u.patience, min(u.patience, u.c.s.now()+int64(w.timeouts.Read)))
			return
		}
		if len(src) > 0 {
			continue
		}
		if !u.flush(nil) {
			return
		}
		var ok bool
		if src, ok = u.read(); !ok {
			return
		}
	}
}

// awaitGoAhead waits for the upstream's 100 (Continue) when the client waits for it, but not for long.
func (u *upload) awaitGoAhead() bool {
	if u.goAhead == nil {
		return true
	}
	u.arm(stageWork, 0)
	timer := time.NewTimer(continueWait)
	defer timer.Stop()
	select {
	case <-u.goAhead:
	case <-timer.C:
	}
	if u.stopping.Load() {
		return false
	}
	u.speaking.Lock()
	defer u.speaking.Unlock()
	if u.final { // the answer came instead: the client will not send the body
		return false
	}
	// Nobody else watches this write: a client that does not read must not hold it.
	tcp := u.c.wire.tcp
	_ = tcp.SetWriteDeadline(time.Now().Add(u.c.settings.SendTimeout))
	if u.c.wire.tell(continueLine) != nil {
		u.fail(0, "client_gone")
		return false
	}
	return tcp.SetWriteDeadline(time.Time{}) == nil
}

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// proceed lets the body come.
func (u *upload) proceed() {
	if u.goAhead != nil {
		u.once.Do(func() { close(u.goAhead) })
	}
}

// answered notes that the final answer begins: no interim answer may follow.
func (u *upload) answered() {
	u.speaking.Lock()
	u.final = true
	u.speaking.Unlock()
}

func (u *upload) arm(st stage, deadline int64) {
	u.deadline.Store(deadline)
	u.stage.Store(uint32(st))
}

// read gets more of the body from the client. A chunked body may be followed by the next request, of which no more is read than fits the client's buffer.
func (u *upload) read() ([]byte, bool) {
	c, w := u.c, u.w
	limit := int64(len(w.in))
	if left := w.body.Remaining(); left >= 0 {
		limit = min(left, largeBuffer)
	}
	deadline := c.s.at(w.since) + int64(c.settings.RequestTimeout)
	u.arm(stageBody, deadline)
	n, err := c.readBody(u.buf[:min(limit, largeBuffer)], deadline, &u.stopping)
	switch {
	case err == nil:
		c.received(n)
		return u.buf[:n], true
	case u.stopping.Load():
	case errors.Is(err, os.ErrDeadlineExceeded):
		u.late(kick(c.kicked.Swap(uint32(kickNone))))
	case errors.Is(err, io.EOF):
		u.fail(400, "body_truncated")
	default:
		u.fail(0, "client_gone")
	}
	return nil, false
}

// late ends an upload that did not arrive in time.
func (u *upload) late(why kick) {
	s := u.c.s
	switch why {
	case kickRate:
		s.metrics.Process.Hit(observe.LimitBodyRate)
		u.fail(408, "body_rate")
	case kickTimeout:
		s.metrics.Process.Hit(observe.LimitRequestTimeout)
		u.fail(408, "request_timeout")
	default:
		u.fail(0, "client_gone")
	}
}

// forward takes one decoded piece through the filters and towards the upstream.
func (u *upload) forward(data []byte, last bool) bool {
	w := u.w
	n := u.received.Add(int64(len(data)))
	if n > w.route.MaxBodySize {
		u.c.s.metrics.Process.Hit(observe.LimitBodySize)
		u.fail(413, "body_too_large")
		return false
	}
	if w.route.Chain.Phases().Has(filter.OnRequestBody) && (len(data) > 0 || last) {
		u.arm(stageWork, 0)
		u.filtering.Lock()
		d := w.route.Chain.RequestBody(w.x, data, last)
		u.filtering.Unlock()
		if !d.Continues() {
			u.decision, u.decided = d, true
			u.fail(0, "")
			return false
		}
	}
	if w.req.Framing != http1.FramingChunked {
		return u.flush(data)
	}
	u.out = http1.AppendChunk(u.out, data)
	if last {
		u.out = http1.AppendLastChunk(u.out, unclaimed(w.body.Trailers, w.gen.Identity))
	}
	if last || len(u.out) >= flushAt {
		return u.flush(nil)
	}
	return true
}

// flush sends u.out and data upstream. When the upstream does not take it, it may still be answering: the other goroutine finds out.
func (u *upload) flush(data []byte) bool {
	u.remember(data)
	if len(u.out)+len(data) == 0 {
		return true
	}
	u.arm(stageSend, u.c.s.now()+int64(u.w.timeouts.Write))
	err := u.w.up.write(u.out, data)
	u.out = u.out[:0]
	if err != nil {
		u.c.deadline.CompareAndSwap(u.patience, min(u.patience, u.c.s.now()+int64(u.w.timeouts.Read)))
	}
	return err == nil
}

// remember keeps what is about to be sent, as long as all of it fits the route's replay buffer.
func (u *upload) remember(data []byte) {
	if !u.keeping {
		return
	}
	if int64(len(u.keep)+len(u.out)+len(data)) > u.w.route.Retry.ReplayBuffer {
		u.keep, u.keeping = nil, false
		return
	}
	u.keep = append(append(u.keep, u.out...), data...)
	if u.consumed.Load() { // before it is sent: the upstream may have gone away at any time
		u.whole.Store(true)
	}
}

// fail notes what to answer and wakes the other goroutine from its wait for the upstream, which would get no sensible answer any more.
func (u *upload) fail(status int, code string) {
	u.status, u.code = status, code
	u.failed.Store(true)
	_ = u.w.up.tcp.SetReadDeadline(past)
}

// stop ends the upload and waits for it.
func (u *upload) stop() {
	u.stopping.Store(true)
	u.proceed()
	hurry := !u.complete.Load()
	if hurry {
		_ = u.c.wire.tcp.SetReadDeadline(past)
		_ = u.w.up.tcp.SetWriteDeadline(past)
	}
	<-u.done
	u.c.upload.Store(nil)
	if hurry {
		_ = u.c.wire.tcp.SetReadDeadline(time.Time{})
		_ = u.w.up.tcp.SetWriteDeadline(time.Time{})
	}
	u.c.s.large.Put(u.buf)
}

// endUpload waits for the upload and joins its fate with that of the answer.
func (c *conn) endUpload(w *work, res result, reusable bool) (result, bool) {
	u := w.upload
	answered := res.answered()
	if !answered && u.failed.Load() {
		<-u.done
	}
	u.stop()
	w.upload = nil
	w.received = u.received.Load()
	if u.whole.Load() {
		w.replay = u.keep
	}
	if u.consumed.Load() {
		w.unread = false
		w.rest = append([]byte{}, u.rest...)
	} else {
		w.keep = false
		if w.begun {
			w.next = wantLinger
		}
	}
	if !answered && u.failed.Load() {
		w.settled = true
		c.uploadFailed(w, u)
		return result{kind: observe.FailureCanceled, code: u.code}, false
	}
	return res, reusable && u.complete.Load()
}

// uploadFailed answers for a request body that could not be forwarded.
func (c *conn) uploadFailed(w *work, u *upload) {
	switch {
	case u.decided:
		c.decide(w, &u.decision)
	case u.status == 0:
		w.keep, w.aborted = false, true
	default:
		c.refuse(w, u.status, u.code)
	}
}
