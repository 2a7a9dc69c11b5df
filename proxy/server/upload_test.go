package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// TestAnswerAfterUpload: an answer to a body that was streamed may take longer than the upstream has to take the body, as long as it goes on.
func TestAnswerAfterUpload(t *testing.T) {
	t.Parallel()
	const pieces = 12
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != 1<<20 {
			t.Errorf("the backend got %d bytes, %v", n, err)
		}
		for i := range pieces {
			fmt.Fprintln(w, i)
			w.(http.Flusher).Flush()
			select {
			case <-time.After(100 * time.Millisecond): // the pace of the answer, not a wait for something
			case <-r.Context().Done():
				return
			}
		}
	}))
	cfg := proxytest.ToBackends(backend)
	cfg.Upstreams[0].Timeouts.Write = 300 * time.Millisecond
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	for name, body := range map[string]io.Reader{"length": bytes.NewReader(make([]byte, 1<<20)), "chunked": io.MultiReader(bytes.NewReader(make([]byte, 1<<20)))} {
		t.Run(name, func(t *testing.T) {
			r, err := http.Post("http://"+p.Addr+"/", "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			got, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 || strings.Count(string(got), "\n") != pieces {
				t.Errorf("%s, %q, %v", r.Status, got, err)
			}
		})
	}
}

// A client that leaves after it has sent a streamed body is noticed before there is anything to send to it; one that stays gets its answer, however long that takes.
func TestClientLeavesAfterUpload(t *testing.T) {
	t.Parallel()
	for name, abrupt := range map[string]bool{"reset": true, "end": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := newStuck()
			p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.Backend(t, slow)), proxytest.Options{})
			request := proxytest.Head("PUT /stuck HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n"
			stays, leaves := p.Dial(t), p.Dial(t)
			stays.Send(request)
			leaves.Send(request)
			await(t, "a request", slow.came)
			await(t, "the other request", slow.came)
			if abrupt {
				_ = leaves.SetLinger(0)
			}
			leaves.Close()
			await(t, "the end of the request whose client has left", slow.left)
			close(slow.release)
			if r, body := stays.Answer("PUT"); r.StatusCode != 200 || body != "slow abc" {
				t.Error(r.Status, body)
			}
		})
	}
}
