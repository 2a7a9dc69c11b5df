package tlsconf

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// storage is the directory of what ACME servers issued: account keys, and certificates with their keys. Only its owner can read it.
type storage struct{ dir string }

// lock keeps everybody else from getting a certificate for these domains until the returned function is called. Without domains it is about the storage itself.
func (s storage) lock(ctx context.Context, domains []string) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use storage: %w", err)
	}
	file := filepath.Join(s.dir, "lock")
	if len(domains) > 0 {
		file = s.named("lock", domains...)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use storage: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock storage: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, errors.New("another process holds the lock of the storage")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// named is a file for one thing, under a name that any list of domains and any URL gives.
func (s storage) named(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return filepath.Join(s.dir, prefix+"-"+hex.EncodeToString(h.Sum(nil)[:8])+".pem")
}

func (s storage) certificateFile(domains []string) string {
	return s.named(strings.Replace(domains[0], "*", "wildcard", 1), domains...)
}

// certificate is the stored one for exactly these domains.
func (s storage) certificate(domains []string) (*tls.Certificate, error) {
	text, err := os.ReadFile(s.certificateFile(domains))
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

// keep stores a certificate with its key: in one file, so that they cannot be apart.
func (s storage) keep(domains []string, key crypto.Signer, chain [][]byte) (*tls.Certificate, error) {
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("the server sent another certificate than was asked for: %w", err)
	}
	for _, d := range domains {
		if err := cert.Leaf.VerifyHostname(d); err != nil {
			return nil, fmt.Errorf("the server sent another certificate than was asked for: %w", err)
		}
	}
	return &cert, writeWhole(s.certificateFile(domains), text)
}

// account is the key of our account with a server; it is made when there is none. Certificates share it that name the same server, address for mail and key of
// account binding: a server would keep the address that an account began with, whatever another certificate says.
func (s storage) account(ctx context.Context, server, email, binding string) (crypto.Signer, error) {
	unlock, err := s.lock(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	file := s.named("account", server, email, binding)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = keyPEM(key); err != nil {
			return nil, err
		}
		return key, writeWhole(file, text)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key for an account", file)
	}
	return signer, nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// writeWhole replaces a file in one step, and the disk knows it before it counts.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
