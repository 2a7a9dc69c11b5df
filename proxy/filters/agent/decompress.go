package agent

import (
	"errors"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/unpack"
)

// begin looks at the Content-Encoding of a body, which is known when its first piece is here: the fields are then those that its recipient will get.
func (a *asking) begin(v *visit, b *body, fields []http1.Field) error {
	f := b.flow
	if f.begun || !a.decompress.Enabled {
		return nil
	}
	f.begun = true
	codings, err := unpack.CodingsOf(fields)
	if err != nil || codings.None() {
		return err
	}
	limits := unpack.Limits{Ratio: int64(a.decompress.MaxRatio), Size: b.limit}
	if most := a.decompress.MaxSize; most > 0 && (limits.Size == 0 || most < limits.Size) {
		limits.Size = most
	}
	f.unpack = a.decoders.Open(codings, limits, chunkSize(&v.session))
	return nil
}

// unpacked sends what a piece of an encoded body stands for. The decoder may keep back what it cannot tell yet, at most a window of it; it comes with a later piece,
// and everything with the last.
func (a *asking) unpacked(x *filter.Exchange, v *visit, b *body, data []byte, last bool) filter.Decision {
	m := a.shared.metrics
	m.PackedBytes.Add(uint64(len(data)))
	b.total = -1 // what the message says is the length of something else
	f := b.flow
	f.unpack.Feed(data, last)
	for {
		piece, state, err := f.unpack.Next()
		m.UnpackedBytes.Add(uint64(len(piece)))
		if err != nil {
			return a.notUnpacked(x, v, b, err)
		}
		done := state == unpack.Done
		if len(piece) > 0 || done {
			if d := a.piece(x, v, b, piece, done); !d.Continues() || v.over || done {
				return d
			}
		}
		if state == unpack.Hungry {
			return filter.Continue()
		}
	}
}

// notUnpacked applies the failure mode to a body that cannot be inspected.
func (a *asking) notUnpacked(x *filter.Exchange, v *visit, b *body, err error) filter.Decision {
	status := 502
	var e *unpack.Error
	if errors.As(err, &e) {
		a.shared.metrics.NotUnpacked.Add(e.Reason.String())
		if e.Reason == unpack.Memory {
			a.shared.process.Hit(observe.LimitDecompression)
		}
		status = b.statusOf(e.Reason)
	}
	return a.failed(x, v, b.event, err, status, 0)
}

// statusOf is the answer to a body that cannot be unpacked, when the failure mode is closed: a client is told what is wrong with what it sent, while what is wrong with
// an answer is the upstream's.
func (b *body) statusOf(r unpack.Reason) int {
	switch {
	case r == unpack.Memory:
		return 503
	case b.phase != filter.OnRequestBody:
		return 502
	case r == unpack.Coding:
		return 415
	case r == unpack.Corrupt:
		return 400
	}
	return 413
}

// decompressOf is the filter's word, else the agent's.
func decompressOf(a config.Agent, f config.AgentFilter) config.Decompress {
	if f.Decompress != nil {
		return *f.Decompress
	}
	return a.Decompress
}
