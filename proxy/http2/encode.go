package http2

import "github.com/sentinel-stack/sentinel/proxy/http1"

// What we send is packed with the static table only and without a Huffman code: it needs no state that a slow peer could hold up, and no processor time; the
// price is a few dozen bytes an answer.

// staticNames are the names of the static table (RFC 7541, appendix A) that occur in answers, with their numbers.
var staticNames = map[string]byte{
	"accept-charset": 15, "accept-encoding": 16, "accept-language": 17, "accept-ranges": 18, "accept": 19, "access-control-allow-origin": 20, "age": 21, "allow": 22,
	"authorization": 23, "cache-control": 24, "content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28, "content-location": 29,
	"content-range": 30, "content-type": 31, "cookie": 32, "date": 33, "etag": 34, "expect": 35, "expires": 36, "from": 37, "host": 38, "if-match": 39,
	"if-modified-since": 40, "if-none-match": 41, "if-range": 42, "if-unmodified-since": 43, "last-modified": 44, "link": 45, "location": 46, "max-forwards": 47,
	"proxy-authenticate": 48, "proxy-authorization": 49, "range": 50, "referer": 51, "refresh": 52, "retry-after": 53, "server": 54, "set-cookie": 55,
	"strict-transport-security": 56, "transfer-encoding": 57, "user-agent": 58, "vary": 59, "via": 60, "www-authenticate": 61,
}

// staticStatus are the whole fields of the static table that are statuses.
var staticStatus = map[int]byte{200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}

const (
	indexedField  = 0x80 // RFC 7541 §6.1
	literalField  = 0x00 // §6.2.2: without indexing
	secretLiteral = 0x10 // §6.2.3: never to be indexed, by intermediaries neither
	statusName    = 8
)

// AppendStatus appends :status.
func AppendStatus(dst []byte, status int) []byte {
	if i, ok := staticStatus[status]; ok {
		return append(dst, indexedField|i)
	}
	dst = append(dst, literalField|statusName, 3)
	return append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// AppendField appends one field; its name is sent in lower case.
func AppendField(dst []byte, name, value []byte) []byte {
	var lower [64]byte
	n := lower[:0]
	if len(name) > len(lower) {
		n = make([]byte, 0, len(name))
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		n = append(n, c)
	}
	form := byte(literalField)
	if i, ok := staticNames[string(n)]; ok {
		if i == staticNames["set-cookie"] {
			form = secretLiteral
		}
		dst = appendInteger(dst, form, 4, uint64(i))
	} else {
		dst = appendString(append(dst, form), n)
	}
	return appendString(dst, value)
}

// AppendFields appends all fields that are not of one hop.
func AppendFields(dst []byte, fields []http1.Field) []byte {
	for i := range fields {
		if f := &fields[i]; !f.Hop && !http1.IsHopByHop(f.ID) {
			dst = AppendField(dst, f.Name, f.Value)
		}
	}
	return dst
}

func appendString(dst, s []byte) []byte {
	return append(appendInteger(dst, 0, 7, uint64(len(s))), s...)
}

// appendInteger appends v with a prefix of so many bits behind the bits of form (RFC 7541 §5.1).
func appendInteger(dst []byte, form byte, bits uint, v uint64) []byte {
	most := uint64(1)<<bits - 1
	if v < most {
		return append(dst, form|byte(v))
	}
	dst = append(dst, form|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
