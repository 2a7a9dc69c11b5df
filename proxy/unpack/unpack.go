// Package unpack turns bodies with a Content-Encoding into the bytes their recipient reads, for filters that inspect them. A body comes in pieces and goes out in
// pieces; nothing but the decoder's own window is held, and what that takes is reserved from a bound that all bodies share.
//
// Whoever sends a body chooses what it unpacks to, so everything that makes that dangerous is an Error with a reason: too much for what was sent (a bomb), too
// much in all, damage, bytes behind the end, codings that are not known, and memory that is not there. A Body never guesses: it gives what
// the codings say, or an error.
package unpack

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Reason says why a body could not be unpacked.
type Reason uint8

// The reasons.
const (
	Ratio   Reason = iota // it becomes too many times what was sent
	Size                  // it becomes too long
	Corrupt               // it is damaged, ends early, or has bytes behind its end
	Coding                // its Content-Encoding is not known, or names too many
	Memory                // all memory for decoders is in use
	reasonCount
)

var reasonNames = [reasonCount]string{"ratio", "size", "corrupt", "encoding", "memory"}

// String is the metric label.
func (r Reason) String() string { return reasonNames[r] }

// Error is a body that could not be unpacked.
type Error struct {
	Reason Reason
	Detail string // for the logs
}

// Error implements error.
func (e *Error) Error() string { return "cannot decompress body: " + e.Detail }

func failed(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// Limits bound what one body becomes.
type Limits struct {
	Ratio int64 // bytes for each one that was sent; what is within Spared is not measured
	Size  int64 // bytes in all; 0 = any number
}

// Spared is how much any body may become, however short it is: small texts of a few words compress well, and harm nobody.
const Spared = 64 << 10

// maxCodings is how often a body may be encoded.
const maxCodings = 3

// coding is one way of encoding.
type coding uint8

const (
	gzipped coding = iota
	deflated
	brotlied
	zstandard
)

// Codings are those of a body, in the order in which they were applied (RFC 9110 section 8.4). The empty Codings are those of a body that stands for itself.
type Codings struct {
	list  [maxCodings]coding
	count int
}

// None reports whether the body stands for itself.
func (c Codings) None() bool { return c.count == 0 }

// CodingsOf reads every Content-Encoding of a header. The error is an *Error.
func CodingsOf(fields []http1.Field) (Codings, error) {
	var out Codings
	for i := range fields {
		if fields[i].ID != http1.ContentEncoding {
			continue
		}
		for name := range strings.SplitSeq(string(fields[i].Value), ",") {
			name = strings.Trim(name, " \t")
			if name == "" || strings.EqualFold(name, "identity") {
				continue
			}
			c, ok := codingOf(name)
			if !ok {
				return out, failed(Coding, "unknown Content-Encoding %.40q", name)
			}
			if out.count == maxCodings {
				return out, failed(Coding, "encoded more than %d times", maxCodings)
			}
			out.list[out.count] = c
			out.count++
		}
	}
	return out, nil
}

func codingOf(name string) (coding, bool) {
	switch strings.ToLower(name) {
	case "gzip", "x-gzip":
		return gzipped, true
	case "deflate":
		return deflated, true
	case "br":
		return brotlied, true
	case "zstd":
		return zstandard, true
	}
	return 0, false
}
