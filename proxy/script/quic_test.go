package script

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// quic is a client of HTTP/3 that trusts the authority "ca".
//
//	quic get PORT NAME [-size N]   one request for the host NAME, answered 200 over HTTP/3
//	quic told PORT NAME TEXT…      what the server says of its bounds has the texts: streams=N window=N all=N idle=N retry=BOOL
//	quic flood PORT NAME N         N streams that say nothing; the connection is ended for it
func (c call) quic(args []string) error {
	if len(args) < 3 {
		return usage("quic VERB PORT NAME …")
	}
	verb, port, name, args := args[0], args[1], args[2], args[3:]
	ca := c.issued.authorities["ca"]
	if ca == nil {
		return usage("no authority ca")
	}
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: name, NextProtos: []string{"h3"}}
	return c.until(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		switch verb {
		case "get":
			return quicGet(ctx, conf, port, name, args)
		case "told":
			return quicTold(ctx, conf, port, args)
		case "flood":
			return quicFlood(ctx, conf, port, args)
		}
		return usage("quic " + verb)
	})
}

func quicGet(ctx context.Context, conf *tls.Config, port, name string, args []string) error {
	method, body := "GET", io.Reader(nil)
	if len(args) == 2 && args[0] == "-size" {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return usage(err.Error())
		}
		method, body = "POST", strings.NewReader(strings.Repeat("x", n))
	}
	tr := &http3.Transport{TLSClientConfig: conf}
	defer tr.Close()
	req, err := http.NewRequestWithContext(ctx, method, "https://127.0.0.1:"+port+"/", body)
	if err != nil {
		return err
	}
	req.Host = name
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 || res.ProtoMajor != 3 {
		return fmt.Errorf("%s %s %w", res.Proto, res.Status, err)
	}
	return nil
}

// told remembers what the server said when the connection began.
type told struct {
	mu   sync.Mutex
	said string
}

func (k *told) AddProducer() qlogwriter.Recorder { return k }
func (k *told) Close() error                     { return nil }

func (k *told) RecordEvent(e qlogwriter.Event) {
	p, ok := e.(qlog.ParametersSet)
	if !ok || p.Initiator != qlog.InitiatorRemote {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = fmt.Sprintf("streams=%d window=%d all=%d idle=%d retry=%v;", p.InitialMaxStreamsBidi, p.InitialMaxStreamDataBidiRemote, p.InitialMaxData, int(p.MaxIdleTimeout.Seconds()), p.RetrySourceConnectionID.Len() > 0)
}

func quicTold(ctx context.Context, conf *tls.Config, port string, args []string) error {
	k := &told{}
	conn, err := quic.DialAddr(ctx, "127.0.0.1:"+port, conf, &quic.Config{Tracer: func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace { return k }})
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0x100, "")
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, text := range args {
		if !strings.Contains(k.said, text) {
			return fmt.Errorf("the server says %s", k.said)
		}
	}
	return nil
}

func quicFlood(ctx context.Context, conf *tls.Config, port string, args []string) error {
	if len(args) != 1 {
		return usage("quic flood PORT NAME N")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return usage(err.Error())
	}
	conn, err := quic.DialAddr(ctx, "127.0.0.1:"+port, conf, nil)
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0x100, "")
	for range n {
		s, err := conn.OpenUniStreamSync(ctx)
		if err != nil {
			break
		}
		s.Write([]byte{0x21})
		s.Close()
	}
	select {
	case <-conn.Context().Done():
	case <-time.After(2 * doubt):
		return errors.New("the connection goes on")
	}
	var end *quic.ApplicationError
	if err := context.Cause(conn.Context()); !errors.As(err, &end) || end.ErrorCode != 0x107 {
		return fmt.Errorf("ended with %w", err)
	}
	return nil
}
