package observe

import (
	"net/netip"
	"strconv"
)

// appendAccessJSON appends one JSON line. Fields that do not apply are left out, except those a reader may count on: everything up to
// body_bytes_sent is always there.
func appendAccessJSON(b []byte, r *AccessRecord, clock *Clock, instance string) []byte {
	b = append(b, `{"timestamp":"`...)
	b = clock.AppendRFC3339(b, r.Time)
	b = append(b, `","trace_id":`...)
	if len(r.TraceID) > 0 {
		b = appendQuoted(b, r.TraceID)
	} else {
		b = appendQuoted(b, r.RequestID)
	}
	b = field(b, `,"request_id":`, r.RequestID)
	b = field(b, `,"method":`, r.Method)
	b = field(b, `,"host":`, r.Host)
	b = field(b, `,"path":`, r.Path)
	if len(r.Query) > 0 {
		b = field(b, `,"query":`, r.Query)
	}
	b = field(b, `,"protocol":`, r.Protocol)
	b = number(b, `,"status":`, int64(r.Status))
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, int64(r.Duration))
	b = append(b, `,"client_ip":`...)
	if r.ClientIP.IsValid() {
		b = appendIP(b, r.ClientIP)
	} else {
		b = append(b, `"unix"`...) // a peer on a Unix socket has none
	}
	b = number(b, `,"body_bytes_sent":`, r.BytesSent)
	b = number(b, `,"bytes_received":`, r.BytesReceived)
	b = optional(b, `,"user_agent":`, r.UserAgent)
	b = optional(b, `,"referer":`, r.Referer)
	b = optional(b, `,"listener":`, r.Listener)
	b = optional(b, `,"route_id":`, r.Route)
	if r.Upstream != "" {
		b = field(b, `,"upstream":`, r.Upstream)
		b = optional(b, `,"upstream_addr":`, r.UpstreamAddr)
		b = number(b, `,"upstream_attempts":`, int64(r.UpstreamAttempts))
		b = append(b, `,"connection_reused":`...)
		b = strconv.AppendBool(b, r.ConnectionReused)
	}
	b = optional(b, `,"tls_version":`, r.TLSVersion)
	b = optional(b, `,"tls_cipher":`, r.TLSCipher)
	b = optional(b, `,"server_name":`, r.ServerName)
	b = optional(b, `,"client_cert":`, r.ClientCert)
	b = optional(b, `,"refusal":`, r.Refusal)
	b = optional(b, `,"agent":`, r.Agent)
	b = optional(b, `,"decision":`, r.Decision)
	b = optional(b, `,"instance_id":`, instance)
	return append(b, '}', '\n')
}

// appendCombined appends one line of the combined format, followed by request id, duration, upstream address.
func appendCombined(b []byte, r *AccessRecord, clock *Clock) []byte {
	if r.ClientIP.IsValid() {
		b = r.ClientIP.Unmap().WithZone("").AppendTo(b)
	} else {
		b = append(b, "unix"...)
	}
	b = append(b, " - - ["...)
	b = append(b, clock.Stamp(r.Time).CLF[:]...)
	b = append(b, `] "`...)
	if len(r.Method) == 0 {
		b = append(b, '-')
	} else {
		b = appendHexEscapedRaw(b, r.Method)
		b = append(b, ' ')
		b = appendHexEscapedRaw(b, r.Path)
		if len(r.Query) > 0 {
			b = append(b, '?')
			b = appendHexEscapedRaw(b, r.Query)
		}
		b = append(b, ' ')
		b = appendHexEscapedRaw(b, r.Protocol)
	}
	b = append(b, `" `...)
	b = append(b, byte('0'+r.Status/100%10), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	b = strconv.AppendInt(b, r.BytesSent, 10)
	b = append(b, ` "`...)
	b = appendHexEscaped(b, r.Referer)
	b = append(b, `" "`...)
	b = appendHexEscaped(b, r.UserAgent)
	b = append(b, `" `...)
	b = appendHexEscaped(b, r.RequestID)
	b = append(b, ' ')
	b = appendMillis(b, int64(r.Duration))
	b = append(b, "ms "...)
	b = appendHexEscaped(b, r.UpstreamAddr)
	return append(b, '\n')
}

// appendAuditJSON appends one JSON line of the audit log.
func appendAuditJSON(b []byte, r *AuditRecord, clock *Clock, instance string) []byte {
	b = append(b, `{"timestamp":"`...)
	b = clock.AppendRFC3339(b, r.Time)
	b = field(b, `","event_type":`, r.Event)
	b = optional(b, `,"request_id":`, r.RequestID)
	b = optional(b, `,"method":`, r.Method)
	b = optional(b, `,"host":`, r.Host)
	b = optional(b, `,"path":`, r.Path)
	if r.ClientIP.IsValid() {
		b = append(b, `,"client_ip":`...)
		b = appendIP(b, r.ClientIP)
	}
	b = optional(b, `,"route_id":`, r.Route)
	b = optional(b, `,"phase":`, r.Phase)
	b = optional(b, `,"reason":`, r.Reason)
	b = optional(b, `,"agent_id":`, r.Agent)
	b = list(b, `,"rule_ids":`, r.RuleIDs)
	b = list(b, `,"tags":`, r.Tags)
	b = optional(b, `,"action":`, r.Action)
	if r.Status != 0 {
		b = number(b, `,"status_code":`, int64(r.Status))
	}
	if len(r.Metadata) > 0 {
		b = append(b, `,"metadata":{`...)
		for i, p := range r.Metadata {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, p.Name)
			b = field(b, ":", p.Value)
		}
		b = append(b, '}')
	}
	if r.Generation != 0 {
		b = append(b, `,"generation":`...)
		b = strconv.AppendUint(b, r.Generation, 10)
	}
	b = optional(b, `,"instance_id":`, instance)
	return append(b, '}', '\n')
}

func field[S []byte | string](b []byte, key string, value S) []byte {
	return appendQuoted(append(b, key...), value)
}

func optional[S []byte | string](b []byte, key string, value S) []byte {
	if len(value) == 0 {
		return b
	}
	return appendQuoted(append(b, key...), value)
}

func number(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

func list(b []byte, key string, values []string) []byte {
	if len(values) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, v)
	}
	return append(b, ']')
}

// appendIP appends a quoted address; v4-mapped ones as v4, zones dropped, an unknown one empty.
func appendIP(b []byte, ip netip.Addr) []byte {
	b = append(b, '"')
	if ip.IsValid() {
		b = ip.Unmap().WithZone("").AppendTo(b)
	}
	return append(b, '"')
}
