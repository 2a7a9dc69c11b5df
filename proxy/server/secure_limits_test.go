package server_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// The timeouts of a listener hold over TLS too, and what is refused is refused in words.
func TestSecureTimeouts(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	l := &cfg.Listeners[0]
	l.HeaderTimeout, l.KeepaliveTimeout, l.RequestTimeout = 300*time.Millisecond, 400*time.Millisecond, 600*time.Millisecond
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	for name, text := range map[string]string{
		"head":       "GET / HTTP/1.1\r\nHo",
		"body":       proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 10") + "12345",
		"large body": proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 100000") + "12345",
		"chunked":    proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "5\r\n123",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dialSecure(t, p, conf)
			c.send(text)
			if r, _ := c.answer("POST"); r.StatusCode != 408 || !r.Close {
				t.Fatal(r)
			}
			if _, err := c.R.ReadByte(); err != io.EOF {
				t.Error(err)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		c := dialSecure(t, p, conf)
		c.get("/")
		if _, err := c.R.ReadByte(); err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("never a byte", func(t *testing.T) {
		t.Parallel()
		if _, err := dialSecure(t, p, conf).R.ReadByte(); err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		c := dialSecure(t, p, conf)
		c.send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 99999999999"))
		if r, _ := c.answer("POST"); r.StatusCode != 413 || !r.Close {
			t.Fatal(r)
		}
	})
}

// A client that trickles its body loses its connection; one that sends a large record slowly, but above the rate, does not, although nothing can be opened
// before all of the record is here.
func TestSecureMinimumRate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the grace period of 5 s")
	}
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Listeners[0].MinBodyRate = 500
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	t.Run("trickle", func(t *testing.T) {
		t.Parallel()
		c := dialSecure(t, p, conf)
		_ = c.SetDeadline(time.Now().Add(3 * proxytest.Patience))
		c.send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 100000"))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for tick := time.NewTicker(200 * time.Millisecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					if _, err := c.Conn.Write([]byte("x")); err != nil {
						return
					}
				}
			}
		}()
		r, _ := c.answer("POST")
		close(stop)
		<-done
		if r.StatusCode != 408 || p.Metrics.Process.Limits[observe.LimitBodyRate].Load() != 1 {
			t.Error(r)
		}
	})
	t.Run("large record", func(t *testing.T) {
		t.Parallel()
		raw := p.Dial(t)
		_ = raw.SetDeadline(time.Now().Add(3 * proxytest.Patience))
		slow := &slowly{Conn: raw.TCPConn}
		c := tls.Client(slow, conf)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 14000")); err != nil {
			t.Fatal(err)
		}
		slow.on = true // 7 s for one record
		if _, err := c.Write(make([]byte, 14000)); err != nil {
			t.Fatal(err)
		}
		client := secureOver(t, c)
		if r, body := client.answer("POST"); r.StatusCode != 200 || len(body) != 14005 {
			t.Error(r, len(body))
		}
	})
}
