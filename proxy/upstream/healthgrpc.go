package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// probeGRPC asks grpc.health.v1.Health/Check about a service, on a connection of its own.
func (e *endpoint) probeGRPC(ctx context.Context, service string) error {
	conn, err := e.reachHTTP2(ctx, true)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	s, err := multiplex.Start(conn, multiplex.Options{Secure: e.tls != nil, MaxStreams: 1, Window: minWindow, WriteTimeout: max(time.Until(deadline), time.Millisecond)}, deadline)
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := s.Open()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := st.Write(appendCheck(nil, HostOf(e.address), service)); err != nil {
		return err
	}
	return readCheck(st)
}

// appendCheck appends the request. Its message is HealthCheckRequest, which has one field, the service (number 1, a string).
func appendCheck(dst []byte, host, service string) []byte {
	var message []byte
	if service != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	dst = append(dst, "POST /grpc.health.v1.Health/Check HTTP/1.1\r\n"...)
	dst = http1.AppendFieldString(dst, "host", host)
	dst = append(dst, "content-type: application/grpc\r\nuser-agent: sentinel-health-check\r\n"...)
	dst = append(http1.AppendFieldInt(dst, "content-length", int64(grpcPrefix+len(message))), '\r', '\n')
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(len(message))) // not compressed, then its length
	return append(dst, message...)
}

// grpcPrefix is the length of what precedes each message of gRPC.
const grpcPrefix = 5

var errNoStatus = errors.New("the answer has no grpc-status")

// readCheck reads the answer and returns nil when it says that the service is up.
func readCheck(r io.Reader) error {
	var resp http1.Response
	var body http1.Body
	var message []byte
	limits := http1.Limits{}
	buf := make([]byte, 0, maxCheckHead)
	headed := false
	for {
		if len(buf) == cap(buf) {
			return errors.New("the answer is too long")
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return err
		}
		buf = buf[:len(buf)+n]
		src := buf
		if !headed {
			k, refusal := resp.Parse(buf, http1.MethodPost, &limits)
			switch {
			case refusal != nil:
				return fmt.Errorf("the answer breaks HTTP: %s", refusal.Code)
			case k == 0:
				continue
			case resp.Status != 200:
				return fmt.Errorf("status %d", resp.Status)
			}
			if status, found := resp.Find("grpc-status"); found && string(status) != "0" { // no message follows
				return grpcFailure(status)
			}
			body.Init(resp.Framing, resp.ContentLength, http1.FromUpstream, &limits)
			headed, src = true, buf[k:]
		}
		for len(src) > 0 && !body.Done() {
			used, data, _, refusal := body.Next(src)
			if refusal != nil {
				return fmt.Errorf("the answer breaks HTTP: %s", refusal.Code)
			}
			message = append(message, data...)
			src = src[used:]
			if len(message) > maxCheckBody {
				return errors.New("the answer is too long")
			}
		}
		if body.Done() {
			return judgeCheck(message, body.Trailers)
		}
		buf = buf[:0]
	}
}

func judgeCheck(message []byte, trailers []http1.Field) error {
	for i := range trailers {
		if !http1.EqualFold(trailers[i].Name, "grpc-status") {
			continue
		}
		if string(trailers[i].Value) != "0" {
			return grpcFailure(trailers[i].Value)
		}
		return serving(message)
	}
	return errNoStatus
}

func grpcFailure(status []byte) error { return fmt.Errorf("grpc-status %s", status) }

// serving reads HealthCheckResponse, whose one field (number 1, a varint) is 1 when the service is up.
func serving(message []byte) error {
	if len(message) < grpcPrefix || message[0] != 0 || uint64(binary.BigEndian.Uint32(message[1:])) != uint64(len(message)-grpcPrefix) {
		return errors.New("the answer is not one message")
	}
	status := uint64(0)
	if p := message[grpcPrefix:]; len(p) > 0 {
		n := 0
		if p[0] == 1<<3 {
			status, n = binary.Uvarint(p[1:])
		}
		if n <= 0 || 1+n != len(p) {
			return errors.New("the answer is not a HealthCheckResponse")
		}
	}
	if status != 1 {
		return errors.New("health status " + strconv.FormatUint(status, 10) + " is not SERVING")
	}
	return nil
}
