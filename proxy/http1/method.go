package http1

// Method is the number of a known request method; MethodOther is every other token.
type Method uint8

// Known methods.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodPatch
	MethodOptions
	MethodTrace
	MethodConnect
	MethodCount
)

var methodNames = [MethodCount]string{
	"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
}

// String returns the method's name, "OTHER" for MethodOther.
func (m Method) String() string {
	if m >= MethodCount {
		return methodNames[MethodOther]
	}
	return methodNames[m]
}

// IsIdempotent reports whether the method may be sent again when it is unknown whether the first sending had an effect
// (RFC 9110 §9.2.2). Unknown methods are not.
func (m Method) IsIdempotent() bool {
	switch m {
	case MethodGet, MethodHead, MethodPut, MethodDelete, MethodOptions, MethodTrace:
		return true
	}
	return false
}

// maxMethodBytes is twice the longest registered method.
const maxMethodBytes = 32

// LookupMethod returns the number of a method; methods are compared with case.
func LookupMethod(name []byte) Method {
	switch string(name) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "PATCH":
		return MethodPatch
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "CONNECT":
		return MethodConnect
	}
	return MethodOther
}

// isMiscased reports whether an unknown method is a known one in another case.
func isMiscased(name []byte) bool {
	for m := MethodGet; m < MethodCount; m++ {
		if EqualFold(name, methodNames[m]) {
			return true
		}
	}
	return false
}
