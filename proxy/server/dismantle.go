package server

import (
	"io"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// dismantler takes an answer that is written as a message of HTTP/1.1 apart, for a client that gets frames.
type dismantler struct {
	method http1.Method
	head   []byte // part of a head
	resp   http1.Response
	body   http1.Body
	headed bool
	raw    bool // it has become a WebSocket: what is written is passed on as it is
}

// framer sends the parts.
type framer interface {
	// sendFields sends the fields of an answer, or of trailers (status 0); end says that nothing follows.
	sendFields(status int, fields []http1.Field, end bool) error
	sendBody(data []byte, end bool) error
}

// write takes pieces of any size and returns how much was taken.
func (d *dismantler) write(p []byte, to framer) (n int, err error) {
	for rest := p; len(rest) > 0; {
		if d.headed {
			rest, err = d.writeBody(rest, to)
		} else {
			rest, err = d.writeHead(rest, to)
		}
		if err != nil {
			return len(p) - len(rest), err
		}
	}
	return len(p), nil
}

// writeHead takes the head of an answer, interim or final.
func (d *dismantler) writeHead(p []byte, to framer) (rest []byte, err error) {
	src, before := p, len(d.head)
	if before > 0 {
		d.head = append(d.head, p...)
		src = d.head
	}
	n, refusal := d.resp.Parse(src, d.method, &answerLimits)
	if refusal != nil {
		return p, refusal
	}
	if n == 0 {
		if before == 0 {
			d.head = append(d.head, p...)
		}
		return nil, nil
	}
	r := &d.resp
	end, status := false, r.Status
	switch {
	case status == 101:
		d.headed, d.raw, status = true, true, 200
	case status >= 200:
		d.headed = true
		d.body.Init(r.Framing, r.ContentLength, http1.FromUpstream, &answerLimits)
		end = d.body.Done()
	}
	err = to.sendFields(status, r.Fields, end)
	r.Reset()
	d.head = nil
	return p[n-before:], err
}

// writeBody takes a piece of the body.
func (d *dismantler) writeBody(p []byte, to framer) (rest []byte, err error) {
	if d.raw {
		return nil, to.sendBody(p, false)
	}
	n, data, done, refusal := d.body.Next(p)
	switch {
	case refusal != nil:
		return p, refusal
	case done && len(d.body.Trailers) > 0:
		if len(data) > 0 {
			if err := to.sendBody(data, false); err != nil {
				return p, err
			}
		}
		err = to.sendFields(0, d.body.Trailers, true)
	case len(data) > 0 || done:
		err = to.sendBody(data, done)
	case n == 0: // behind the end: nothing may be there
		return p, io.ErrShortWrite
	}
	return p[n:], err
}

// skips reports whether a field of the answer has no meaning for a stream (RFC 8441 §5).
func (d *dismantler) skips(f *http1.Field) bool {
	return d.raw && http1.EqualFold(f.Name, "sec-websocket-accept")
}
