package server

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// What the proxy knows of gRPC: a call is a POST with a content type of its own, its outcome is a number that comes in the trailers of an answer with status 200, or in its head when there
// is no message, and its client may say how long it waits.

var contentTypeGRPC = []byte("application/grpc")

// isGRPC reports whether the content is that of gRPC, and not of gRPC-Web.
func isGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, contentTypeGRPC)
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// maxGRPCDigits bounds the number in grpc-timeout.
const maxGRPCDigits = 8

// grpcTimeout reads the field of that name; ok is false for what is none.
func grpcTimeout(value []byte) (d time.Duration, ok bool) {
	digits := len(value) - 1
	if digits < 1 || digits > maxGRPCDigits {
		return 0, false
	}
	var n int64
	for _, c := range value[:digits] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	unit := timeoutUnit(value[digits])
	if unit == 0 {
		return 0, false
	}
	return min(time.Duration(n), longestCall/unit) * unit, true
}

// longestCall keeps a timeout from overflowing.
const longestCall = 365 * 24 * time.Hour

func timeoutUnit(c byte) time.Duration {
	switch c {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	}
	return 0
}

// callTimeout is how long a gRPC call may take: what the route says, or less when its client waits less.
func callTimeout(req *http1.Request, limit time.Duration) time.Duration {
	if value, found := req.Find("grpc-timeout"); found {
		if d, ok := grpcTimeout(value); ok {
			return min(d, limit)
		}
	}
	return limit
}

// grpcStatus is the outcome among fields; -1 = there is none.
func grpcStatus(fields []http1.Field) int {
	for i := range fields {
		if fields[i].ID == http1.Unknown && http1.EqualFold(fields[i].Name, "grpc-status") {
			n, err := strconv.ParseUint(string(fields[i].Value), 10, 8)
			if err != nil {
				return -1
			}
			return int(n)
		}
	}
	return -1
}

// Outcomes that say that the target is not well. The others are the application's own answers (not found, refused, invalid), or the client's doing (canceled, deadline exceeded).
const (
	grpcInternal    = 13
	grpcUnavailable = 14
	grpcDataLoss    = 15
)

// unwell reports whether the answer that was relayed is a failure of the target: a status of 500 or more, or such an outcome of a gRPC call.
func (w *work) unwell() bool {
	if w.resp.Status >= 500 {
		return true
	}
	if !w.grpc {
		return false
	}
	outcome := grpcStatus(w.resp.Fields)
	if outcome < 0 && w.resp.Framing == http1.FramingChunked {
		outcome = grpcStatus(w.reply.Trailers)
	}
	return outcome == grpcInternal || outcome == grpcUnavailable || outcome == grpcDataLoss
}

// repeatable reports whether the answer is one of gRPC without a message whose outcome the route repeats.
func (w *work) repeatable() bool {
	codes := w.route.Retry.GRPCCodes
	return w.grpc && len(codes) > 0 && w.resp.Status == 200 && w.resp.Framing == http1.FramingLength && w.resp.ContentLength == 0 && slices.Contains(codes, grpcStatus(w.resp.Fields))
}
