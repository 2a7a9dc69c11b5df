package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	uploadSize   = 256 << 10
	downloadSize = 1 << 20
)

// kind is one sort of traffic: how it connects, and what it asks and wants.
type kind struct {
	name   string
	secure bool
	short  bool // a connection for each request
	weight int  // how many clients there are of it, in units of the option
	call   func(c *http.Client, base string, i int) error
}

var traffic = []kind{
	{"keep-alive", false, false, 4, small},
	{"keep-alive TLS", true, false, 4, small},
	{"short", false, true, 1, small},
	{"short TLS", true, true, 1, small},
	{"agents", false, false, 1, asked},
	{"agents TLS", true, false, 1, asked},
	{"upload", false, false, 1, upload},
	{"upload TLS", true, false, 1, upload},
	{"download", false, false, 1, download},
	{"download TLS", true, false, 1, download},
}

func small(c *http.Client, base string, _ int) error { return get(c, base+"/?size=100", 200, 100) }

func download(c *http.Client, base string, _ int) error {
	return get(c, base+"/?size="+strconv.Itoa(downloadSize), 200, downloadSize)
}

// asked asks the agents; one path in eight is denied.
func asked(c *http.Client, base string, i int) error {
	if i%8 == 0 {
		return get(c, base+"/asked/secret", 403, -1)
	}
	return get(c, base+"/asked/well?size=100", 200, 100)
}

func upload(c *http.Client, base string, _ int) error {
	res, err := c.Post(base+"/", "application/octet-stream", bytes.NewReader(zeros[:uploadSize]))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || string(body) != strconv.Itoa(uploadSize)) {
		err = fmt.Errorf("%s, the target got %.20q bytes", res.Status, body)
	}
	return err
}

// get wants a status and, unless size is negative, a body of that size.
func get(c *http.Client, url string, status int, size int64) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != status || size >= 0 && n != size) {
		err = fmt.Errorf("%s with %d bytes, want %d with %d", res.Status, n, status, size)
	}
	return err
}

// startLoad starts the clients, each as fast as it goes; stop waits until their last request is over.
func startLoad(o options, s *system, l *ledger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	number := 0
	for _, k := range traffic {
		for range o.workers * k.weight {
			n := number % 250
			number++
			work.Go(func() { client(ctx, s, l, k, byte(n)) })
		}
	}
	return func() { cancel(); work.Wait() }
}

// client sends requests of one kind until ctx ends. Each has a loopback address of its own, so that short connections do not run out of ports.
func client(ctx context.Context, s *system, l *ledger, k kind, number byte) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, 1+number)}, Timeout: 20 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, DisableKeepAlives: k.short, MaxIdleConnsPerHost: 1, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "bench.test"}, // the certificate is our own
	}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	base := fmt.Sprintf("http://127.0.0.1:%d", s.plain)
	if k.secure {
		base = fmt.Sprintf("https://127.0.0.1:%d", s.secure)
	}
	for i := 0; ctx.Err() == nil; i++ {
		began := time.Now()
		err := k.call(c, base, i)
		l.request(k.name, began, err)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // what is down is not hammered
		}
	}
}
