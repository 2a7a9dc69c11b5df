package observe

// Method is a request method as a small number, so that counting by method is indexing an array.
type Method uint8

// The methods counted by name; every other one is MethodOther, so that a client cannot invent series.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodPatch
	MethodOptions
	methodCount
)

var methodNames = [methodCount]string{"other", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}

// ParseMethod maps the method token of a request line; tokens are case-sensitive (RFC 9110 §9.1).
func ParseMethod(token []byte) Method {
	switch string(token) {
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
	}
	return MethodOther
}

// String is the metric label.
func (m Method) String() string {
	if m < methodCount {
		return methodNames[m]
	}
	return methodNames[MethodOther]
}
