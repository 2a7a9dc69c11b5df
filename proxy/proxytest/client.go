package proxytest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Client is a raw connection to a proxy: what a test sends is what goes over the wire.
type Client struct {
	*net.TCPConn
	R *bufio.Reader
	t testing.TB
}

// Patience is how long a test waits for something that ought to happen.
const Patience = 10 * time.Second

// Dial connects to the proxy. The connection fails after Patience, so that no test hangs.
func (p *Instance) Dial(t testing.TB) *Client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(Patience))
	return &Client{c.(*net.TCPConn), bufio.NewReader(c), t}
}

// Send writes the strings one after the other; "\n" stands for CRLF in heads written with Head.
func (c *Client) Send(parts ...string) {
	c.t.Helper()
	for _, p := range parts {
		if _, err := io.WriteString(c.TCPConn, p); err != nil {
			c.t.Fatalf("cannot send: %v", err)
		}
	}
}

// Head makes a head of lines: CRLF after each and an empty line at the end.
func Head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// Answer reads one answer to a request with that method, body included.
func (c *Client) Answer(method string) (*http.Response, string) {
	c.t.Helper()
	return ReadAnswer(c.t, c.R, method)
}

// ReadAnswer reads from r one answer to a request with that method, body included.
func ReadAnswer(t testing.TB, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("cannot read answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("cannot read body of %s: %v", res.Status, err)
	}
	return res, string(body)
}

// Get sends a GET without further fields and reads the answer.
func (c *Client) Get(path string) (*http.Response, string) {
	c.t.Helper()
	c.Send(Head("GET "+path+" HTTP/1.1", "Host: test"))
	return c.Answer("GET")
}

// WantClosed fails the test unless the proxy closes the connection without sending more.
func (c *Client) WantClosed() {
	c.t.Helper()
	if b, err := c.R.ReadByte(); err == nil {
		c.t.Fatalf("the connection is open and %q came", b)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

// Eventually waits until ok is true, and fails the test when that does not happen within Patience.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("never happened: %s", what)
}
