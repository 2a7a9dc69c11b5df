package wire

import (
	"math"

	"github.com/sentinel-stack/sentinel/protocol"
)

func (e *encoder) metrics(r *protocol.MetricsReport) {
	e.mapStart(6 + e.greased())
	e.key("agent_id")
	e.str(r.AgentID)
	e.key("timestamp_ms")
	e.int(r.TimeMillis)
	e.key("interval_ms")
	e.int(r.IntervalMillis)
	e.key("counters")
	e.samples(r.Counters, true)
	e.key("gauges")
	e.samples(r.Gauges, false)
	e.within(len(r.Histograms), protocol.MaxSeries)
	e.key("histograms")
	e.listStart(len(r.Histograms))
	for i := range r.Histograms {
		e.histogram(&r.Histograms[i])
	}
	e.listEnd()
	e.writeGrease()
	e.mapEnd()
}

// samples writes counters as whole numbers, which is what foreign peers read.
func (e *encoder) samples(list []protocol.Sample, counters bool) {
	e.within(len(list), protocol.MaxSeries)
	e.listStart(len(list))
	for i := range list {
		s := &list[i]
		e.within(len(s.Labels), protocol.MaxEvents)
		e.mapStart(4)
		e.key("name")
		e.str(s.Name)
		e.key("help")
		e.strOrNull(s.Help)
		e.key("labels")
		e.strMap(s.Labels)
		e.key("value")
		if counters && s.Value >= 0 && s.Value < 1<<63 {
			e.uint(uint64(s.Value))
		} else {
			e.float(s.Value)
		}
		e.mapEnd()
	}
	e.listEnd()
}

func (e *encoder) histogram(h *protocol.Histogram) {
	e.mapStart(5)
	e.key("name")
	e.str(h.Name)
	e.key("labels")
	e.strMap(h.Labels)
	e.key("sum")
	e.float(h.Sum)
	e.key("count")
	e.uint(h.Count)
	e.key("buckets")
	e.listStart(len(h.Buckets))
	for _, b := range h.Buckets {
		e.mapStart(2)
		e.key("le")
		e.float(b.UpTo)
		e.key("count")
		e.uint(b.Count)
		e.mapEnd()
	}
	e.listEnd()
	e.mapEnd()
}

func (d *decoder) metrics(r *protocol.MetricsReport) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "agent_id":
			r.AgentID = d.str()
		case "timestamp_ms":
			r.TimeMillis = d.int(0, math.MaxInt64)
		case "interval_ms":
			r.IntervalMillis = d.int(0, math.MaxInt64)
		case "counters":
			r.Counters = d.samples()
		case "gauges":
			r.Gauges = d.samples()
		case "histograms":
			for l := d.listStart(); d.more(&l); {
				d.within(len(r.Histograms)+1, protocol.MaxSeries)
				r.Histograms = append(r.Histograms, d.histogram())
			}
		default:
			d.skip()
		}
	}
}

func (d *decoder) samples() []protocol.Sample {
	var out []protocol.Sample
	for l := d.listStart(); d.more(&l); {
		d.within(len(out)+1, protocol.MaxSeries)
		var s protocol.Sample
		m := d.mapStart()
		for {
			k, ok := d.next(&m)
			if !ok {
				break
			}
			switch string(k) {
			case "name":
				s.Name = d.str()
			case "help":
				s.Help = d.str()
			case "labels":
				s.Labels = d.strMap(protocol.MaxEvents)
			case "value":
				s.Value = d.float()
			default:
				d.skip()
			}
		}
		out = append(out, s)
	}
	return out
}

func (d *decoder) histogram() (h protocol.Histogram) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return h
		}
		switch string(k) {
		case "name":
			h.Name = d.str()
		case "labels":
			h.Labels = d.strMap(protocol.MaxEvents)
		case "sum":
			h.Sum = d.float()
		case "count":
			h.Count = uint64(d.int(0, math.MaxInt64))
		case "buckets":
			for l := d.listStart(); d.more(&l); {
				d.within(len(h.Buckets)+1, protocol.MaxSeries)
				h.Buckets = append(h.Buckets, d.bucket())
			}
		default:
			d.skip()
		}
	}
}

func (d *decoder) bucket() (b protocol.Bucket) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return b
		}
		switch string(k) {
		case "le":
			b.UpTo = d.float()
		case "count":
			b.Count = uint64(d.int(0, math.MaxInt64))
		default:
			d.skip()
		}
	}
}
