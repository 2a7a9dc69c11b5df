package wire

import (
	"math"

	"github.com/sentinel-stack/sentinel/protocol"
)

func (e *encoder) handshakeRequest(r *protocol.HandshakeRequest) {
	e.mapStart(5 + e.greased())
	e.key("supported_versions")
	e.listStart(len(r.SupportedVersions))
	for _, v := range r.SupportedVersions {
		e.int(int64(v))
	}
	e.listEnd()
	e.key("proxy_id")
	e.str(r.ProxyID)
	e.key("proxy_version")
	e.str(r.ProxyVersion)
	e.key("config")
	e.rawJSON(r.Config)
	e.key("supported_encodings")
	e.listStart(len(r.SupportedEncodings))
	for _, v := range r.SupportedEncodings {
		e.str(string(v))
	}
	e.listEnd()
	e.writeGrease()
	e.mapEnd()
}

func (d *decoder) handshakeRequest(r *protocol.HandshakeRequest) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "supported_versions":
			for l := d.listStart(); d.more(&l); {
				r.SupportedVersions = append(r.SupportedVersions, int(d.int(0, math.MaxInt32)))
				d.within(len(r.SupportedVersions), protocol.MaxEvents)
			}
		case "proxy_id":
			r.ProxyID = d.str()
		case "proxy_version":
			r.ProxyVersion = d.str()
		case "config":
			r.Config = d.rawValue()
		case "supported_encodings":
			for _, s := range d.strList(protocol.MaxEvents) {
				r.SupportedEncodings = append(r.SupportedEncodings, protocol.Encoding(s))
			}
		default:
			d.skip()
		}
	}
}

func (d *decoder) within(n, limit int) {
	if n > limit {
		d.fail(ErrLimit)
	}
}

func (e *encoder) handshakeResponse(r *protocol.HandshakeResponse) {
	e.mapStart(5 + e.greased())
	e.key("protocol_version")
	e.int(int64(r.Version))
	e.key("capabilities")
	e.capabilities(&r.Capabilities)
	e.key("success")
	e.bool(r.Success)
	e.key("error")
	e.strOrNull(r.Error)
	e.key("encoding")
	e.str(string(r.Encoding))
	e.writeGrease()
	e.mapEnd()
}

func (e *encoder) capabilities(c *protocol.Capabilities) {
	e.mapStart(6)
	e.key("agent_id")
	e.str(c.AgentID)
	e.key("name")
	e.str(c.Name)
	e.key("version")
	e.str(c.Version)
	e.key("supported_events")
	e.listStart(len(c.Events))
	for _, v := range c.Events {
		e.int(int64(v))
	}
	e.listEnd()
	e.key("features")
	f := &c.Features
	e.mapStart(9 + e.greased())
	for _, x := range [...]struct {
		name string
		on   bool
	}{{"streaming_body", f.StreamingBody}, {"websocket", f.WebSocket}, {"guardrails", f.Guardrails}, {"config_push", f.ConfigPush},
		{"metrics_export", f.MetricsExport}, {"cancellation", f.Cancellation}, {"flow_control", f.FlowControl}, {"health_reporting", f.HealthReporting}} {
		e.key(x.name)
		e.bool(x.on)
	}
	e.key("concurrent_requests")
	e.uint(uint64(f.ConcurrentRequests))
	e.writeGrease()
	e.mapEnd()
	e.key("limits")
	e.mapStart(3)
	e.key("max_body_size")
	e.int(c.Limits.MaxBodySize)
	e.key("max_concurrency")
	e.int(int64(c.Limits.MaxConcurrency))
	e.key("preferred_chunk_size")
	e.int(int64(c.Limits.PreferredChunkSize))
	e.mapEnd()
	e.mapEnd()
}

func (d *decoder) handshakeResponse(r *protocol.HandshakeResponse) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "protocol_version":
			r.Version = int(d.int(0, math.MaxInt32))
		case "capabilities":
			d.capabilities(&r.Capabilities)
		case "success":
			r.Success = d.bool()
		case "error":
			r.Error = d.str()
		case "encoding":
			r.Encoding = protocol.Encoding(d.str())
		default:
			d.skip()
		}
	}
}

// capabilities tolerates missing keys and unknown events: foreign agents leave some out.
func (d *decoder) capabilities(c *protocol.Capabilities) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "agent_id":
			c.AgentID = d.str()
		case "name":
			c.Name = d.str()
		case "version":
			c.Version = d.str()
		case "supported_events":
			n := 0
			for l := d.listStart(); d.more(&l); n++ {
				d.within(n+1, protocol.MaxEvents)
				if v := d.int(0, math.MaxInt32); v > 0 && v < 256 {
					c.Events = append(c.Events, protocol.EventType(v))
				}
			}
		case "features":
			d.features(&c.Features)
		case "limits":
			d.limits(&c.Limits)
		default:
			d.skip()
		}
	}
}

func (d *decoder) features(f *protocol.Features) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "streaming_body":
			f.StreamingBody = d.bool()
		case "websocket":
			f.WebSocket = d.bool()
		case "guardrails":
			f.Guardrails = d.bool()
		case "config_push":
			f.ConfigPush = d.bool()
		case "metrics_export":
			f.MetricsExport = d.bool()
		case "concurrent_requests":
			f.ConcurrentRequests = uint32(d.int(0, math.MaxUint32))
		case "cancellation":
			f.Cancellation = d.bool()
		case "flow_control":
			f.FlowControl = d.bool()
		case "health_reporting":
			f.HealthReporting = d.bool()
		default:
			d.skip()
		}
	}
}

func (d *decoder) limits(x *protocol.Limits) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "max_body_size":
			x.MaxBodySize = d.int(0, math.MaxInt64)
		case "max_concurrency":
			x.MaxConcurrency = int(d.int(0, math.MaxInt32))
		case "preferred_chunk_size":
			x.PreferredChunkSize = int(min(d.int(0, math.MaxInt64), protocol.MaxChunk))
		default:
			d.skip()
		}
	}
}

func (e *encoder) cancel(c *protocol.Cancel) {
	e.mapStart(3)
	e.key("correlation_id")
	e.str(c.CorrelationID)
	e.key("reason")
	e.int(int64(c.Reason))
	e.key("timestamp_ms")
	e.int(c.TimeMillis)
	e.mapEnd()
}

func (d *decoder) cancel(c *protocol.Cancel) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			d.require(c.CorrelationID != "")
			return
		}
		switch string(k) {
		case "correlation_id":
			c.CorrelationID = d.correlation()
		case "reason":
			c.Reason = protocol.CancelReason(d.int(0, math.MaxUint8))
		case "timestamp_ms":
			c.TimeMillis = d.int(0, math.MaxInt64)
		default:
			d.skip()
		}
	}
}

func (e *encoder) ping(p *protocol.Ping) {
	e.mapStart(2)
	e.key("sequence")
	e.uint(p.Sequence)
	e.key("timestamp_ms")
	e.int(p.TimeMillis)
	e.mapEnd()
}

func (d *decoder) ping(p *protocol.Ping) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "sequence":
			p.Sequence = uint64(d.int(0, math.MaxInt64))
		case "timestamp_ms":
			p.TimeMillis = d.int(0, math.MaxInt64)
		default:
			d.skip()
		}
	}
}

func (e *encoder) health(h *protocol.HealthStatus) {
	e.mapStart(4 + e.greased())
	e.key("agent_id")
	e.str(h.AgentID)
	e.key("state")
	e.int(int64(h.State))
	e.key("message")
	e.strOrNull(h.Message)
	e.key("timestamp_ms")
	e.int(h.TimeMillis)
	e.writeGrease()
	e.mapEnd()
}

// health accepts the state as a number and, as some foreign agents write it, as {"status":"healthy"} or "healthy".
func (d *decoder) health(h *protocol.HealthStatus) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "agent_id":
			h.AgentID = d.str()
		case "state":
			h.State = d.healthState()
		case "message":
			h.Message = d.str()
		case "timestamp_ms":
			h.TimeMillis = d.int(0, math.MaxInt64)
		default:
			d.skip()
		}
	}
}

func (d *decoder) healthState() (state protocol.Health) {
	switch d.peek() {
	case kindNumber:
		if n := d.int(0, math.MaxInt32); n <= int64(protocol.Unhealthy) {
			return protocol.Health(n)
		}
		return protocol.HealthUnknown
	case kindString, kindBinary:
		name := string(d.view())
		for s := protocol.Healthy; s <= protocol.Unhealthy; s++ {
			if s.String() == name {
				return s
			}
		}
		return protocol.HealthUnknown
	}
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return state
		}
		if string(k) == "status" && d.isText() {
			state = d.healthState()
		} else {
			d.skip()
		}
	}
}

func (e *encoder) flow(f *protocol.FlowControl) {
	e.mapStart(2 + e.greased())
	e.key("action")
	e.int(int64(f.Action))
	e.key("timestamp_ms")
	e.int(f.TimeMillis)
	e.writeGrease()
	e.mapEnd()
}

func (d *decoder) flow(f *protocol.FlowControl) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "action":
			f.Action = protocol.FlowAction(d.int(0, math.MaxUint8))
		case "timestamp_ms":
			f.TimeMillis = d.int(0, math.MaxInt64)
		default:
			d.skip()
		}
	}
}
