package http3

import (
	"errors"
	"io"
	"strings"

	"github.com/quic-go/qpack"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// pseudoFields are not counted among the fields.
const pseudoFields = 5

// ReadFields unpacks a field section of at most maxList bytes, 32 for each field included, and maxFields fields. What is beyond that is tooLarge and stays packed: a small section
// that refers to one field many times costs nothing.
func ReadFields(section []byte, maxList, maxFields int) (fields []http2.HeaderField, tooLarge bool, err *Error) {
	next := qpack.NewDecoder().Decode(section)
	for size := 0; ; {
		f, e := next()
		if errors.Is(e, io.EOF) {
			return fields, false, nil
		}
		if e != nil {
			return nil, false, Fatal(DecompressionFailed, "compression")
		}
		if size += len(f.Name) + len(f.Value) + 32; size > maxList || len(fields) >= maxFields+pseudoFields {
			return nil, true, nil
		}
		fields = append(fields, http2.HeaderField{Name: f.Name, Value: f.Value})
	}
}

// AppendSection appends a HEADERS frame with the fields that are not of one hop and not skipped, behind :status unless that is "".
func AppendSection(dst []byte, status string, fields []http1.Field, skip func(*http1.Field) bool) []byte {
	var b sink
	e := qpack.NewEncoder(&b)
	if status != "" {
		_ = e.WriteField(qpack.HeaderField{Name: ":status", Value: status})
	}
	for i := range fields {
		if f := &fields[i]; !f.Hop && !http1.IsHopByHop(f.ID) && !skip(f) {
			_ = e.WriteField(qpack.HeaderField{Name: strings.ToLower(string(f.Name)), Value: string(f.Value)})
		}
	}
	if len(b) == 0 { // no field at all: the prefix alone
		b = sink{0, 0}
	}
	return AppendFrame(dst, Headers, b)
}

type sink []byte

func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
