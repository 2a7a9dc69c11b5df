package server

import (
	"math/rand/v2"
	"net/netip"
	"unsafe"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// addressNames are the two ends of a connection as text, made once.
type addressNames struct {
	peer  [39]byte
	port  [5]byte
	peerN uint8
	portN uint8
	v6    bool
}

func (n *addressNames) init(peer, local netip.AddrPort) {
	var b [64]byte
	n.v6 = peer.Addr().Is6()
	n.peerN, n.portN = uint8(copy(n.peer[:], peer.Addr().WithZone("").AppendTo(b[:0]))), 0
	if !peer.IsValid() {
		n.peerN = uint8(copy(n.peer[:], unixPeer))
	}
	if !local.IsValid() {
		return
	}
	text := local.AppendTo(b[:0])
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == ':' {
			n.portN = uint8(copy(n.port[:], text[i+1:]))
			break
		}
	}
}

// unixPeer is what a peer on a Unix socket is called, which has no address. In Forwarded a name that is none begins with an underscore (RFC 7239, 6.3).
const unixPeer = "unix"

func (n *addressNames) peerText() []byte { return n.peer[:n.peerN] }
func (n *addressNames) portText() []byte { return n.port[:n.portN] }

// identify finds out who asks and gives the exchange its id. What a client says about either is believed only behind a trusted proxy.
func (c *conn) identify(w *work) {
	w.client = c.peer.Addr()
	w.trusted = isTrusted(w.gen.Trusted, w.client)
	if w.trusted {
		w.client = originalClient(w.gen.Trusted, w.req.Fields, w.client)
		if id := w.req.Get(http1.XRequestID); validID(id) {
			w.id = w.idBuf[:copy(w.idBuf[:], id)]
			return
		}
	}
	w.id = w.gen.IDFormat.Append(w.idBuf[:0], w.since)
}

func isTrusted(trusted []config.Source, a netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// originalClient walks X-Forwarded-For from right to left past trusted proxies. Each entry was written by the proxy to its right, so the first one that
// is not itself a trusted proxy is the client; what stands further left is hearsay. An entry that is no address ends the walk at the last good one.
func originalClient(trusted []config.Source, fields []http1.Field, peer netip.Addr) netip.Addr {
	client := peer
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].ID != http1.XForwardedFor {
			continue
		}
		for list := fields[i].Value; len(list) > 0; {
			var entry []byte
			list, entry = lastElement(list)
			if len(entry) == 0 {
				continue
			}
			a, ok := parseForwarded(entry)
			if !ok {
				return client
			}
			client = a
			if !isTrusted(trusted, a) {
				return client
			}
		}
	}
	return client
}

// lastElement splits a comma-separated list before its last element, whitespace trimmed.
func lastElement(list []byte) (rest, element []byte) {
	i := len(list) - 1
	for i >= 0 && list[i] != ',' {
		i--
	}
	element = list[i+1:]
	for len(element) > 0 && (element[0] == ' ' || element[0] == '\t') {
		element = element[1:]
	}
	for len(element) > 0 && (element[len(element)-1] == ' ' || element[len(element)-1] == '\t') {
		element = element[:len(element)-1]
	}
	return list[:max(i, 0)], element
}

// parseForwarded reads an entry of X-Forwarded-For: an address, optionally with a port.
func parseForwarded(b []byte) (netip.Addr, bool) {
	if len(b) > 64 {
		return netip.Addr{}, false
	}
	s := unsafe.String(unsafe.SliceData(b), len(b)) // not kept: netip copies what it needs, and entries with a zone are refused below
	colons := 0
	for i := range s {
		switch s[i] {
		case ':':
			colons++
		case '%':
			return netip.Addr{}, false
		}
	}
	if s[0] == '[' || colons == 1 {
		if s[len(s)-1] == ']' {
			s = s[1 : len(s)-1]
		} else {
			ap, err := netip.ParseAddrPort(s)
			return ap.Addr().Unmap(), err == nil
		}
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}

// validID reports whether an id of a trusted proxy can be taken over.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > observe.MaxIDLen {
		return false
	}
	for _, b := range id {
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.') {
			return false
		}
	}
	return true
}

// clientPort is the client with its port, when the connection is its own.
func (c *conn) clientPort(w *work) netip.AddrPort {
	if w.client == c.peer.Addr() {
		return c.peer
	}
	return netip.AddrPortFrom(w.client, 0)
}

// Names and constant values of the forwarding fields.
var (
	nameFor       = []byte("X-Forwarded-For")
	nameProto     = []byte("X-Forwarded-Proto")
	nameHost      = []byte("X-Forwarded-Host")
	namePort      = []byte("X-Forwarded-Port")
	nameForwarded = []byte("Forwarded")
	nameVia       = []byte("Via")
	nameRequestID = []byte("X-Request-Id")
	nameTrace     = []byte("traceparent")
	valueHTTP     = []byte("http")
	valueHTTPS    = []byte("https")
	valueVia      = []byte("1.1 sentinel")
)

// forwardFields replaces the forwarding fields of the request: those of a trusted proxy are kept and continued, those of anybody else dropped.
func (c *conn) forwardFields(w *work) {
	h, req := w.x.RequestHeader(), &w.req
	old := h.DropForwarding(!w.trusted)
	peer := c.names.peerText()
	h.AddView(http1.Field{Name: nameFor, Value: h.Join(old.For, peer), ID: http1.XForwardedFor})
	if !old.Proto {
		h.AddView(http1.Field{Name: nameProto, Value: c.schemeText(), ID: http1.XForwardedProto})
	}
	if !old.Host && len(req.Host) > 0 {
		h.AddView(http1.Field{Name: nameHost, Value: req.Host, ID: http1.XForwardedHost})
	}
	if !old.Port && len(c.names.portText()) > 0 {
		h.AddView(http1.Field{Name: namePort, Value: c.names.portText(), ID: http1.XForwardedPort})
	}
	h.AddView(http1.Field{Name: nameForwarded, Value: c.forwarded(w, old.Forwarded), ID: http1.Forwarded})
	h.AddView(http1.Field{Name: nameVia, Value: valueVia, ID: http1.Via})
	h.AddView(http1.Field{Name: nameRequestID, Value: w.x.RequestID(), ID: http1.XRequestID})
	continueTrace(w.trace[:], old.Trace)
	h.AddView(http1.Field{Name: nameTrace, Value: w.trace[:], ID: http1.Traceparent})
}

// forwarded writes our element of Forwarded (RFC 7239) behind those of a trusted proxy.
func (c *conn) forwarded(w *work, old []byte) []byte {
	b := w.text[:0]
	if len(old) > 0 {
		b = append(append(b, old...), ", "...)
	}
	b = append(b, "for="...)
	switch {
	case !c.peer.IsValid():
		b = append(append(b, '_'), unixPeer...)
	case c.names.v6:
		b = append(append(append(b, `"[`...), c.names.peerText()...), `]"`...)
	default:
		b = append(b, c.names.peerText()...)
	}
	if len(w.req.Host) > 0 { // a Host the codec accepts has nothing that needs escaping in a quoted string
		b = append(append(append(b, `;host="`...), w.req.Host...), '"')
	}
	b = append(append(b, ";proto="...), c.schemeText()...)
	w.text = b
	return w.x.RequestHeader().Hold(b)
}

// continueTrace fills in a traceparent (W3C Trace Context): the trace of a trusted proxy goes on, otherwise a new one begins. The parent is always new:
// it names this hop.
func continueTrace(dst, old []byte) {
	copy(dst, "00-")
	if validTrace(old) {
		copy(dst[3:35], old[3:35])
		copy(dst[53:], old[53:55])
	} else {
		putHex(dst[3:19], rand.Uint64())
		putHex(dst[19:35], rand.Uint64()|1) // all zeros is not a trace
		copy(dst[53:], "00")
	}
	dst[35] = '-'
	putHex(dst[36:52], rand.Uint64()|1)
	dst[52] = '-'
}

const hexDigits = "0123456789abcdef"

func putHex(dst []byte, v uint64) {
	for i := 15; i >= 0; i-- {
		dst[i] = hexDigits[v&15]
		v >>= 4
	}
}

// validTrace reports whether a value is a traceparent of version 00.
func validTrace(b []byte) bool {
	if len(b) != 55 || b[0] != '0' || b[1] != '0' || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	nonzero := false
	for i, d := range b {
		if i == 2 || i == 35 || i == 52 {
			continue
		}
		if !(d >= '0' && d <= '9' || d >= 'a' && d <= 'f') {
			return false
		}
		nonzero = nonzero || i > 2 && i < 35 && d != '0'
	}
	return nonzero
}
