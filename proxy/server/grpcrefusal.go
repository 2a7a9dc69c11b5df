package server

import (
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// outcomes are what the proxy's own refusals are in gRPC; what is not here is unknown (2).
var outcomes = map[int]int{
	400: grpcInternal, 401: 16, 403: 7, 404: 12, 408: 4, 413: 8, 429: grpcUnavailable, 431: 8, 500: grpcInternal, 502: grpcUnavailable, 503: grpcUnavailable, 504: 4,
}

var (
	nameGRPCStatus  = []byte("Grpc-Status")
	nameGRPCMessage = []byte("Grpc-Message")
)

// refuseCall answers a gRPC call in its own way: status 200, the outcome in the head and no message. Logs and metrics have the status that any other request would have been given.
func (c *conn) refuseCall(w *work, status int, h *filter.Header) {
	outcome, ok := outcomes[status]
	if !ok {
		outcome = 2
	}
	if status >= 500 && w.deadline != 0 && c.s.now() >= w.deadline {
		outcome = 4 // a server that gives the call up for its time resets the stream, and may be quicker than our own look at the clock
	}
	h.AddView(http1.Field{Name: nameContentType, Value: contentTypeGRPC, ID: http1.ContentType})
	h.AddView(http1.Field{Name: nameGRPCStatus, Value: strconv.AppendInt(nil, int64(outcome), 10)})
	h.AddView(http1.Field{Name: nameGRPCMessage, Value: []byte(http1.StatusText(status))})
	c.answer(w, 200, h, nil)
	w.status = status
}
