package http1

import "encoding/binary"

// Field is one field line, a view into the caller's buffer.
type Field struct {
	Name  []byte  // as sent
	Value []byte  // without surrounding whitespace
	ID    FieldID // 0 for a name this package does not know
	Hop   bool    // belongs to this hop only: must not be forwarded (RFC 9110 §7.6.1)
}

// FieldID is the number of a known field name, so that names are compared once.
type FieldID uint8

// Known field names. Add new ones at the end of their group and in fieldNames; there is room for 63.
const (
	Unknown FieldID = iota

	// Hop-by-hop.
	Connection
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Trailer
	TransferEncoding
	Upgrade
	HTTP2Settings

	// Framing and routing.
	Host
	ContentLength
	Expect
	MaxForwards
	Forwarded
	Via
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRealIP
	XRequestID
	Traceparent
	Tracestate

	// Request fields.
	Accept
	AcceptEncoding
	AcceptLanguage
	Authorization
	Cookie
	IfModifiedSince
	IfNoneMatch
	IfMatch
	IfRange
	IfUnmodifiedSince
	Origin
	Range
	Referer
	UserAgent

	// Content and response fields.
	Age
	Allow
	CacheControl
	ContentEncoding
	ContentRange
	ContentType
	Date
	ETag
	Expires
	LastModified
	Location
	Pragma
	RetryAfter
	Server
	SetCookie
	Vary
	WWWAuthenticate

	// WebSocket.
	SecWebSocketAccept
	SecWebSocketExtensions
	SecWebSocketKey
	SecWebSocketProtocol
	SecWebSocketVersion

	fieldCount
)

// fieldNames holds the known names in lower case.
var fieldNames = [fieldCount]string{
	Connection: "connection", KeepAlive: "keep-alive", ProxyConnection: "proxy-connection",
	ProxyAuthenticate: "proxy-authenticate", ProxyAuthorization: "proxy-authorization", TE: "te", Trailer: "trailer",
	TransferEncoding: "transfer-encoding", Upgrade: "upgrade", HTTP2Settings: "http2-settings",

	Host: "host", ContentLength: "content-length", Expect: "expect", MaxForwards: "max-forwards",
	Forwarded: "forwarded", Via: "via", XForwardedFor: "x-forwarded-for", XForwardedHost: "x-forwarded-host",
	XForwardedPort: "x-forwarded-port", XForwardedProto: "x-forwarded-proto", XRealIP: "x-real-ip",
	XRequestID: "x-request-id", Traceparent: "traceparent", Tracestate: "tracestate",

	Accept: "accept", AcceptEncoding: "accept-encoding", AcceptLanguage: "accept-language",
	Authorization: "authorization", Cookie: "cookie", IfModifiedSince: "if-modified-since",
	IfNoneMatch: "if-none-match", IfMatch: "if-match", IfRange: "if-range", IfUnmodifiedSince: "if-unmodified-since",
	Origin: "origin", Range: "range", Referer: "referer", UserAgent: "user-agent",

	Age: "age", Allow: "allow", CacheControl: "cache-control", ContentEncoding: "content-encoding",
	ContentRange: "content-range", ContentType: "content-type", Date: "date", ETag: "etag", Expires: "expires",
	LastModified: "last-modified", Location: "location", Pragma: "pragma", RetryAfter: "retry-after",
	Server: "server", SetCookie: "set-cookie", Vary: "vary", WWWAuthenticate: "www-authenticate",

	SecWebSocketAccept: "sec-websocket-accept", SecWebSocketExtensions: "sec-websocket-extensions",
	SecWebSocketKey: "sec-websocket-key", SecWebSocketProtocol: "sec-websocket-protocol",
	SecWebSocketVersion: "sec-websocket-version",
}

// String returns the lower-case name, "" for Unknown.
func (id FieldID) String() string {
	if id >= fieldCount {
		return ""
	}
	return fieldNames[id]
}

// IsHopByHop reports whether the field always belongs to one hop only.
func IsHopByHop(id FieldID) bool { return id != Unknown && id <= HTTP2Settings }

func (id FieldID) bit() uint64 { return 1 << id }

// forbiddenInTrailers are fields that frame, route, authenticate or describe the content, plus everything of one hop:
// acting on them after the content would change a meaning that was already acted on (RFC 9110 §6.5.1).
const forbiddenInTrailers uint64 = 1<<(HTTP2Settings+1) - 2 | // the whole hop-by-hop group
	1<<Host | 1<<ContentLength | 1<<Expect | 1<<MaxForwards | 1<<Forwarded | 1<<Via | 1<<XForwardedFor |
	1<<XForwardedHost | 1<<XForwardedPort | 1<<XForwardedProto | 1<<XRealIP | 1<<XRequestID |
	1<<Authorization | 1<<Cookie | 1<<SetCookie | 1<<WWWAuthenticate | 1<<Range | 1<<IfRange | 1<<IfMatch |
	1<<IfNoneMatch | 1<<IfModifiedSince | 1<<IfUnmodifiedSince | 1<<Origin | 1<<Referer | 1<<UserAgent |
	1<<CacheControl | 1<<Pragma | 1<<Expires | 1<<Age | 1<<Vary | 1<<Location | 1<<RetryAfter |
	1<<ContentEncoding | 1<<ContentRange | 1<<ContentType

// fieldTable finds the one candidate for a name by its length, its first and its last two letters. The factors were found
// by search so that the known names do not collide, which a test checks: when a name is added, search again.
var fieldTable = buildFieldTable()

const fieldTableSize = 512

// fieldHash hashes a name of at least two bytes.
func fieldHash(name []byte) int {
	n := len(name)
	return (n*22 + int(name[0]|0x20)*125 + int(name[n-1]|0x20)*30 + int(name[n-2]|0x20)*31) & (fieldTableSize - 1)
}

func buildFieldTable() (t [fieldTableSize]FieldID) {
	for id := Unknown + 1; id < fieldCount; id++ {
		t[fieldHash([]byte(fieldNames[id]))] = id
	}
	return t
}

// LookupField returns the id of a field name in any case, Unknown for other names and for what is not a token.
func LookupField(name []byte) FieldID {
	id := lookupToken(name)
	if id != Unknown && !ValidToken(name) {
		return Unknown
	}
	return id
}

// lookupToken is LookupField for a name that is known to be a token.
func lookupToken(name []byte) FieldID {
	if len(name) < 2 {
		return Unknown
	}
	id := fieldTable[fieldHash(name)]
	if id != Unknown && equalLower(name, fieldNames[id]) {
		return id
	}
	return Unknown
}

// equalLower compares a name with a known lower-case one. Setting the case bit is exact because known names consist of
// lower-case letters, digits and "-", and no token byte other than their own upper case maps onto those.
func equalLower(name []byte, known string) bool {
	if len(name) != len(known) {
		return false
	}
	i := 0
	for ; i+8 <= len(name); i += 8 {
		x := binary.LittleEndian.Uint64(name[i:])
		if x|eachCase != le64(known, i) {
			return false
		}
	}
	for ; i < len(name); i++ {
		if name[i]|0x20 != known[i] {
			return false
		}
	}
	return true
}

func le64(s string, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}
