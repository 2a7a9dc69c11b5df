package wire

import (
	"math"
	"math/bits"
	"net/netip"
	"time"
	"unsafe"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Lines is a header block as views: what the proxy has in its buffers. The views stay good while the message is encoded.
type Lines interface {
	Len() int
	At(i int) (name, value []byte)
}

// RequestView is a protocol.RequestHeaders that has not been copied out of the proxy's buffers. Encoding it allocates nothing.
type RequestView struct {
	CorrelationID string
	RequestID     []byte
	Client        netip.AddrPort
	ServerName    string
	Protocol      string
	TLSVersion    string
	TLSCipher     string
	RouteID       string
	UpstreamID    string
	Time          time.Time
	Traceparent   []byte
	Method        []byte
	URI           []byte
	Headers       Lines
}

// ResponseView is a protocol.ResponseHeaders that has not been copied out of the proxy's buffers.
type ResponseView struct {
	CorrelationID string
	Status        int
	Headers       Lines
}

// lines makes protocol.Headers a Lines.
type lines protocol.Headers

func (l *lines) Len() int { return len(*l) }

func (l *lines) At(i int) (name, value []byte) {
	h := &(*l)[i]
	return viewOf(h.Name), viewOf(h.Value)
}

// viewOf returns the bytes of s without copying them; they are only read.
func viewOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// headers writes a header block as a map from lower-case name to the list of values. Lines of one name are grouped where the name comes first.
func (e *encoder) headers(h Lines) {
	n, mark := h.Len(), len(e.b)
	defer func() { e.within(len(e.b)-mark, protocol.MaxHeaderBytes) }() // a little more than names and values
	e.within(n, protocol.MaxHeaderLines)
	if n > groupByTable {
		e.manyHeaders(h)
		return
	}
	var names [groupByTable][]byte
	for i := range n {
		names[i], _ = h.At(i)
	}
	var repeated uint64 // bit i: the name of line i came before
	for i := range n {
		for j := i + 1; j < n && repeated&(1<<i) == 0; j++ {
			if len(names[i]) == len(names[j]) && equalFold(names[i], names[j]) {
				repeated |= 1 << j
			}
		}
	}
	e.mapStart(n - bits.OnesCount64(repeated))
	for i := range n {
		if repeated&(1<<i) == 0 {
			e.headerLines(h, &names, i, n, repeated)
		}
	}
	e.mapEnd()
}

// headerLines writes line i and the later lines of its name.
func (e *encoder) headerLines(h Lines, names *[groupByTable][]byte, i, n int, repeated uint64) {
	var same uint64
	for j := i + 1; j < n && repeated>>j != 0; j++ {
		if repeated&(1<<j) != 0 && equalFold(names[i], names[j]) {
			same |= 1 << j
		}
	}
	e.lowerKey(names[i])
	e.listStart(1 + bits.OnesCount64(same))
	_, value := h.At(i)
	e.bytesStr(value)
	for ; same != 0; same &= same - 1 {
		_, value = h.At(bits.TrailingZeros64(same))
		e.bytesStr(value)
	}
	e.listEnd()
}

// groupByTable is the number of lines up to which comparing every pair is cheaper than a table.
const groupByTable = 64

func (e *encoder) manyHeaders(h Lines) {
	var order []string
	values := make(map[string][]int, h.Len())
	for i := range h.Len() {
		name, _ := h.At(i)
		key := string(appendLower(nil, name))
		if _, ok := values[key]; !ok {
			order = append(order, key)
		}
		values[key] = append(values[key], i)
	}
	e.mapStart(len(order))
	for _, key := range order {
		e.foreignKey(key)
		e.listStart(len(values[key]))
		for _, i := range values[key] {
			_, value := h.At(i)
			e.bytesStr(value)
		}
		e.listEnd()
	}
	e.mapEnd()
}

// equalFold compares field names, which are ASCII.
func equalFold[S []byte | string](a, b S) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// correlation writes the id that every event has.
func (e *encoder) correlation(id string) {
	e.within(len(id), protocol.MaxCorrelationID)
	e.key("correlation_id")
	e.str(id)
}

func (e *encoder) requestHeaders(r *RequestView) {
	e.mapStart(5 + e.greased())
	e.correlation(r.CorrelationID)
	e.key("metadata")
	e.metadata(r)
	e.key("method")
	e.bytesStr(r.Method)
	e.key("uri")
	e.bytesStr(r.URI)
	e.key("headers")
	e.headers(r.Headers)
	e.writeGrease()
	e.mapEnd()
}

func (e *encoder) metadata(r *RequestView) {
	n := 11
	if len(r.Traceparent) > 0 {
		n++
	}
	e.mapStart(n)
	e.correlation(r.CorrelationID)
	e.key("request_id")
	e.bytesStr(r.RequestID)
	e.key("client_ip")
	var text [64]byte
	e.plain(r.Client.Addr().AppendTo(text[:0]))
	e.key("client_port")
	e.uint(uint64(r.Client.Port()))
	e.key("server_name")
	e.strOrNull(r.ServerName)
	e.key("protocol")
	e.str(r.Protocol)
	e.key("tls_version")
	e.strOrNull(r.TLSVersion)
	e.key("tls_cipher")
	e.strOrNull(r.TLSCipher)
	e.key("route_id")
	e.strOrNull(r.RouteID)
	e.key("upstream_id")
	e.strOrNull(r.UpstreamID)
	e.key("timestamp")
	e.plain(r.Time.UTC().AppendFormat(text[:0], time.RFC3339Nano))
	if len(r.Traceparent) > 0 {
		e.key("traceparent")
		e.bytesStr(r.Traceparent)
	}
	e.mapEnd()
}

// plain writes text that is known to be printable ASCII without quotes.
func (e *encoder) plain(s []byte) {
	if e.msgpack {
		e.b = append(appendMsgStrHead(e.b, len(s)), s...)
		return
	}
	e.separate()
	e.b = append(e.b, '"')
	e.b = append(e.b, s...)
	e.b = append(e.b, '"')
}

func (e *encoder) responseHeaders(id string, status int, h Lines) {
	e.mapStart(3 + e.greased())
	e.correlation(id)
	e.key("status")
	e.int(int64(status))
	e.key("headers")
	e.headers(h)
	e.writeGrease()
	e.mapEnd()
}

func (e *encoder) bodyChunk(c *protocol.BodyChunk, transferred string) {
	e.within(len(c.Data), protocol.MaxChunk)
	e.mapStart(6 + e.greased())
	e.correlation(c.CorrelationID)
	e.key("data")
	e.data(c.Data)
	e.key("is_last")
	e.bool(c.Last)
	e.key("total_size")
	if c.TotalSize < 0 {
		e.null()
	} else {
		e.int(c.TotalSize)
	}
	e.key("chunk_index")
	e.uint(uint64(c.Index))
	e.key(transferred)
	e.int(c.Transferred)
	e.writeGrease()
	e.mapEnd()
}

func (e *encoder) requestComplete(c *protocol.RequestComplete) {
	e.mapStart(7 + e.greased())
	e.correlation(c.CorrelationID)
	e.key("status")
	e.int(int64(c.Status))
	e.key("duration_ms")
	e.int(c.DurationMillis)
	e.key("request_body_size")
	e.int(c.RequestBodySize)
	e.key("response_body_size")
	e.int(c.ResponseBodySize)
	e.key("upstream_attempts")
	e.int(int64(c.UpstreamAttempts))
	e.key("error")
	e.strOrNull(c.Error)
	e.writeGrease()
	e.mapEnd()
}

func (e *encoder) configure(c *protocol.Configure) {
	e.mapStart(3 + e.greased())
	e.correlation(c.CorrelationID)
	e.within(len(c.Config), protocol.MaxConfig)
	e.key("config")
	e.rawJSON(c.Config)
	e.key("config_version")
	e.strOrNull(c.Version)
	e.writeGrease()
	e.mapEnd()
}

func (d *decoder) headers() protocol.Headers {
	var out protocol.Headers
	size := 0
	m := d.mapStart()
	if d.msgpack && m.left > 0 {
		out = make(protocol.Headers, 0, min(m.left, 64))
	}
	for {
		k, ok := d.next(&m)
		if !ok {
			return out
		}
		name := d.keep(k, d.keyAt)
		for l := d.listStart(); d.more(&l); {
			value := d.str()
			size += len(name) + len(value)
			if len(out) == protocol.MaxHeaderLines || size > protocol.MaxHeaderBytes {
				d.fail(ErrLimit)
				return nil
			}
			out = append(out, protocol.Header{Name: name, Value: value})
		}
	}
}

func (d *decoder) requestHeaders(r *protocol.RequestHeaders) {
	id := ""
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			id = d.correlation()
		case "metadata":
			d.metadata(&r.Metadata)
		case "method":
			r.Method = d.str()
		case "uri":
			r.URI = d.str()
		case "headers":
			r.Headers = d.headers()
		default:
			d.skip()
		}
	}
	if id != "" {
		r.Metadata.CorrelationID = id
	}
	d.require(r.Metadata.CorrelationID != "" && r.Method != "" && r.URI != "")
}

func (d *decoder) metadata(t *protocol.Metadata) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "correlation_id":
			t.CorrelationID = d.correlation()
		case "request_id":
			t.RequestID = d.str()
		case "client_ip":
			t.ClientIP = d.str()
		case "client_port":
			t.ClientPort = uint16(d.int(0, math.MaxUint16))
		case "server_name":
			t.ServerName = d.str()
		case "protocol":
			t.Protocol = d.str()
		case "tls_version":
			t.TLSVersion = d.str()
		case "tls_cipher":
			t.TLSCipher = d.str()
		case "route_id":
			t.RouteID = d.str()
		case "upstream_id":
			t.UpstreamID = d.str()
		case "timestamp":
			t.Timestamp = d.str()
		case "traceparent":
			t.Traceparent = d.str()
		default:
			d.skip()
		}
	}
}

func (d *decoder) responseHeaders(r *protocol.ResponseHeaders) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			r.CorrelationID = d.correlation()
		case "status":
			r.Status = int(d.int(0, 999))
		case "headers":
			r.Headers = d.headers()
		default:
			d.skip()
		}
	}
	d.require(r.CorrelationID != "" && r.Status >= 100)
}

func (d *decoder) bodyChunk(c *protocol.BodyChunk) {
	c.TotalSize = -1
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			c.CorrelationID = d.ownCorrelation()
		case "data":
			c.Data = d.chunk()
		case "is_last":
			c.Last = d.bool()
		case "total_size":
			if c.TotalSize = -1; d.peek() != kindNull {
				c.TotalSize = d.int(0, math.MaxInt64)
			} else {
				d.skip()
			}
		case "chunk_index":
			c.Index = uint32(d.int(0, math.MaxUint32))
		case "bytes_received", "bytes_sent":
			if n := d.int(0, math.MaxInt64); n > 0 {
				c.Transferred = n
			}
		default:
			d.skip()
		}
	}
	if c.Data == nil {
		c.Data = []byte{} // absent and null are no data
	}
	d.require(c.CorrelationID != "")
}

func (d *decoder) requestComplete(c *protocol.RequestComplete) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			c.CorrelationID = d.correlation()
		case "status":
			c.Status = int(d.int(0, 999))
		case "duration_ms":
			c.DurationMillis = d.int(0, math.MaxInt64)
		case "request_body_size":
			c.RequestBodySize = d.int(0, math.MaxInt64)
		case "response_body_size":
			c.ResponseBodySize = d.int(0, math.MaxInt64)
		case "upstream_attempts":
			c.UpstreamAttempts = int(d.int(0, math.MaxInt32))
		case "error":
			c.Error = d.str()
		default:
			d.skip()
		}
	}
	d.require(c.CorrelationID != "")
}

func (d *decoder) configure(c *protocol.Configure) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "correlation_id":
			c.CorrelationID = d.correlation()
		case "config":
			c.Config = d.rawValue()
		case "config_version":
			c.Version = d.str()
		default:
			d.skip()
		}
	}
}

func (d *decoder) correlation() string {
	v, at, _ := d.span()
	if len(v) > protocol.MaxCorrelationID {
		d.fail(ErrLimit)
		return ""
	}
	if d.id != "" && string(v) == d.id {
		return d.id
	}
	return d.keep(v, at)
}

// ownCorrelation is correlation for messages whose text is mostly body data and not worth sharing.
func (d *decoder) ownCorrelation() string {
	v := d.view()
	if len(v) > protocol.MaxCorrelationID {
		d.fail(ErrLimit)
		return ""
	}
	return string(v)
}

func (d *decoder) require(ok bool) {
	if !ok {
		d.fail(ErrMalformed)
	}
}
