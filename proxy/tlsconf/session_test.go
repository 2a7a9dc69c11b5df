package tlsconf_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// sessions are the two ends of a connection whose handshake is done.
func sessions(t *testing.T) (client, server *tlsconf.Session) {
	t.Helper()
	ca := pki.New("ca")
	pair := ca.Issue(pki.Options{Names: []string{"t"}}).TLS()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		accepted <- c
	}()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b := <-accepted
	t.Cleanup(func() { a.Close(); b.Close() })
	client = tlsconf.Connect(a, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	server = tlsconf.Accept(b, &tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// trickle gives out what it has in pieces of n bytes, and ErrAgain between any two.
type trickle struct {
	data  []byte
	n     int
	pause bool
	end   error // when nothing is left; nil = ErrAgain
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.pause = !s.pause; s.pause || len(s.data) == 0 {
		if len(s.data) == 0 && s.end != nil {
			return 0, s.end
		}
		return 0, tlsconf.ErrAgain
	}
	n := copy(p, s.data[:min(s.n, len(s.data), len(p))])
	s.data = s.data[n:]
	return n, nil
}

// However ciphertext is cut, the plaintext is the same, and ErrAgain in between loses nothing: that crypto/tls goes on after a temporary error is what the whole
// design stands on.
func TestPieces(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	for _, size := range []int{1, 100, 16 << 10, 16<<10 + 1, 100_000} {
		for _, n := range []int{1, 5, 7, 1000, 1 << 20} {
			head, body := []byte("head"), bytes.Repeat([]byte("0123456789"), size)[:size]
			sealed, err := client.Seal(nil, head, body)
			if err != nil {
				t.Fatal(err)
			}
			src := &trickle{data: sealed, n: n}
			server.From(src)
			var got []byte
			buf := make([]byte, 4096)
			for again := 0; again < 2; {
				k, err := server.Open(buf)
				got = append(got, buf[:k]...)
				switch {
				case errors.Is(err, tlsconf.ErrAgain) && len(src.data) == 0:
					again++
				case err != nil && !errors.Is(err, tlsconf.ErrAgain):
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, append(head, body...)) {
				t.Fatalf("%d bytes in pieces of %d: %d bytes came", size, n, len(got))
			}
		}
	}
}

func TestBye(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	server.From(&trickle{data: client.Bye(), n: 1 << 20, end: io.EOF})
	for range 2 {
		if _, err := server.Open(make([]byte, 10)); !errors.Is(err, tlsconf.ErrAgain) && err != io.EOF {
			t.Error(err)
		}
	}
	if _, err := client.Seal(nil, []byte("more"), nil); err == nil {
		t.Error("sealed after the farewell")
	}
	_, server = sessions(t)
	server.From(&trickle{end: io.EOF})
	var err error
	for err = tlsconf.ErrAgain; errors.Is(err, tlsconf.ErrAgain); {
		_, err = server.Open(make([]byte, 10))
	}
	if err != io.ErrUnexpectedEOF {
		t.Errorf("an end without a farewell: %v", err)
	}
}

// A record that was changed on the way ends the session, with an alert for the other side.
func TestTampering(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	sealed, err := client.Seal(nil, []byte("pay 10 to alice"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-1] ^= 1
	src := &trickle{data: sealed, n: 1 << 20}
	server.From(src)
	for err = tlsconf.ErrAgain; errors.Is(err, tlsconf.ErrAgain); {
		_, err = server.Open(make([]byte, 100))
	}
	if len(server.Bye()) == 0 {
		t.Errorf("no alert after %v", err)
	}
	if _, again := server.Open(make([]byte, 100)); again == nil || errors.Is(again, tlsconf.ErrAgain) {
		t.Errorf("the session goes on: %v", again)
	}
}
