package multiplex

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// FuzzTarget lets a target say anything after its settings. Whatever it is: both exchanges end, no more is held than the bounds allow, and an answer that is complete is one that
// the parser of HTTP/1.1 takes, or refuses for reasons of its own, without anything behind it.
func FuzzTarget(f *testing.F) {
	fine := http2.AppendData(head(1, 200, false, "content-length", "2"), 1, []byte("ok"), true)
	f.Add(fine)
	f.Add(http2.AppendHeaders(http2.AppendData(head(1, 200, false), 1, []byte("message"), false), 1, http2.AppendField(nil, []byte("grpc-status"), []byte("0")), true))
	f.Add(append(head(1, 103, false, "link", "</a>"), head(1, 204, true)...))
	f.Add(http2.AppendGoAway(append(fine, head(3, 404, true)...), 1, http2.NoError))
	f.Add(http2.AppendRST(http2.AppendWindowUpdate(http2.AppendSettings(nil, http2.Setting{ID: http2.InitialWindowSize, Value: 1}), 1, 5), 3, http2.RefusedStream))
	f.Add(append(http2.AppendHeader(nil, http2.Headers, 0, 1, 1), 0x88))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		opened := make(chan struct{})
		talked := make(chan struct{})
		go func() {
			defer close(talked)
			_, _ = theirs.Write(http2.AppendSettings(nil))
			<-opened
			_, _ = theirs.Write(said)
			_ = theirs.Close()
		}()
		s, err := Start(ours, Options{MaxStreams: 2, Window: 16 << 10, WriteTimeout: time.Second}, time.Now().Add(patience))
		if err != nil {
			t.Fatal(err)
		}
		var streams [2]*Stream
		for i := range streams {
			if streams[i], err = s.Open(); err != nil {
				t.Fatal(err)
			}
			_ = streams[i].SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(streams[i], "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		close(opened)
		for _, st := range streams {
			text, err := io.ReadAll(st)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the exchange does not end")
			}
			if err == nil {
				judge(t, text)
			}
			st.Close()
		}
		s.Close()
		<-talked
		<-drained
	})
}

func judge(t *testing.T, text []byte) {
	limits := http1.Limits{MaxHeadBytes: 1 << 20, MaxFields: 10_000}
	for {
		var resp http1.Response
		n, refusal := resp.Parse(text, http1.MethodGet, &limits)
		if refusal != nil {
			return
		}
		if n == 0 {
			t.Fatalf("half a head: %q", text)
		}
		text = text[n:]
		if resp.Status < 200 {
			continue
		}
		var body http1.Body
		body.Init(resp.Framing, resp.ContentLength, http1.FromUpstream, &limits)
		for !body.Done() {
			used, _, _, refusal := body.Next(text)
			if refusal != nil {
				if strings.Contains(refusal.Code, "trailer") || strings.Contains(refusal.Code, "field") {
					return
				}
				t.Fatalf("our own framing is refused: %s", refusal.Code)
			}
			if text = text[used:]; used == 0 && len(text) == 0 {
				t.Fatal("the body is not complete")
			}
		}
		if len(text) > 0 {
			t.Fatalf("%q behind the answer", text)
		}
		return
	}
}
