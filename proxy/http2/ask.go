package http2

// Numbers of the static table (RFC 7541, appendix A) that a request begins with.
const (
	authorityName = 1
	methodName    = 2
	methodGet     = 2
	methodPost    = 3
	pathName      = 4
	pathRoot      = 4
	schemeHTTP    = 6
	schemeHTTPS   = 7
)

// AppendRequest appends the pseudo fields of a request (RFC 9113 §8.3.1); the other fields follow with AppendField.
func AppendRequest(dst, method []byte, secure bool, authority, path []byte) []byte {
	switch string(method) {
	case "GET":
		dst = append(dst, indexedField|methodGet)
	case "POST":
		dst = append(dst, indexedField|methodPost)
	default:
		dst = appendString(append(dst, literalField|methodName), method)
	}
	if secure {
		dst = append(dst, indexedField|schemeHTTPS)
	} else {
		dst = append(dst, indexedField|schemeHTTP)
	}
	if len(authority) > 0 {
		dst = appendString(append(dst, literalField|authorityName), authority)
	}
	if string(path) == "/" {
		return append(dst, indexedField|pathRoot)
	}
	return appendString(append(dst, literalField|pathName), path)
}

// AppendPing appends a PING that is to be answered.
func AppendPing(dst []byte, payload [8]byte) []byte {
	return append(AppendHeader(dst, Ping, 0, 0, 8), payload[:]...)
}
