package filter

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// CheckField reports why a field cannot be set by a filter or a rule, nil when it can.
func CheckField(name, value string) error {
	if !validName(name) {
		return fmt.Errorf("cannot set header field %q: not a field name", name)
	}
	if reserved(name) {
		return fmt.Errorf("cannot set header field %q: it belongs to the proxy", name)
	}
	if !validValue(value) {
		return fmt.Errorf("cannot set header field %q: control byte in value", name)
	}
	return nil
}

// maxName is more than any field name in use; it bounds the copy that lookups make on the stack.
const maxName = 256

// reserved reports whether the field frames the message or belongs to one connection only.
func reserved(name string) bool {
	var b [maxName]byte
	id := http1.LookupField(b[:copy(b[:], name)])
	return http1.IsHopByHop(id) || id == http1.ContentLength || id == http1.Expect
}

func validName(s string) bool {
	var b [maxName]byte
	return len(s) <= maxName && http1.ValidToken(b[:copy(b[:], s)])
}

func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
