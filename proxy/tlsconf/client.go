package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Client is how the targets of one upstream are spoken to over TLS.
type Client struct {
	conf   *tls.Config
	resume bool
	digest string
}

// resumable is how many sessions are kept for one target.
const resumable = 32

// NewClient makes the Client of an upstream, nil for one without TLS. An error is a *Fault.
func NewClient(c *config.UpstreamTLS, files Files) (*Client, error) {
	if c == nil {
		return nil, nil
	}
	k := &Client{resume: c.SessionResumption, conf: &tls.Config{
		ServerName: c.SNI, InsecureSkipVerify: c.InsecureSkipVerify, MinVersion: version(c.MinVersion), MaxVersion: version(c.MaxVersion), NextProtos: protocols,
		DynamicRecordSizingDisabled: true,
	}}
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n", *c)
	if c.CACert != "" {
		pool, issuers, err := authorities(files, c.CACert, "ca-cert")
		if err != nil {
			return nil, err
		}
		for _, ca := range issuers {
			h.Write(ca.Raw)
		}
		k.conf.RootCAs = pool
	}
	if c.ClientCert != "" {
		cert, err := pair(files, c.ClientCert, c.ClientKey, "client-cert", "client-key")
		if err != nil {
			return nil, err
		}
		for _, der := range cert.Certificate {
			h.Write(der)
		}
		k.conf.Certificates = []tls.Certificate{*cert}
	}
	k.digest = hex.EncodeToString(h.Sum(nil))
	return k, nil
}

// Digest tells Clients with other settings or other files apart; that of nil is "".
func (k *Client) Digest() string {
	if k == nil {
		return ""
	}
	return k.digest
}

// Target is what connections to one target are made with, nil for plain ones. Each target has sessions of its own: its tickets are worth nothing to the others.
func (k *Client) Target(address string) *tls.Config {
	if k == nil {
		return nil
	}
	conf := k.conf.Clone()
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(address)
	}
	if k.resume {
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(resumable)
	}
	return conf
}
