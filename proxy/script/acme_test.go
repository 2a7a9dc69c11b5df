package script

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// pebbleVersion is the ACME server that scripts run: letsencrypt's own, for tests.
const pebbleVersion = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"

// pebbleProgram finds it, or installs it where that can be done.
var pebbleProgram = sync.OnceValues(func() (string, error) {
	return proxytest.GoProgram(filepath.Dir(program), pebbleVersion, "pebble")
})

// condition tells scripts what can be run here.
func condition(name string) (bool, error) {
	if name != "pebble" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	_, err := pebbleProgram()
	if err != nil && os.Getenv("CI") != "true" {
		fmt.Fprintln(os.Stderr, "SKIP pebble:", err)
		return false, nil
	}
	return err == nil, err
}

// acmeServer is a running pebble with the name server it asks: every name is 127.0.0.1.
type acmeServer struct {
	cmd *exec.Cmd
	dns net.Listener
}

func (a *acmeServer) stop() {
	if a.cmd != nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
	if a.dns != nil {
		_ = a.dns.Close()
	}
}

// acme runs an ACME server.
//
//	acme start     at $ACME; it looks for proofs at $PLAIN (http-01) and $PORT2 (tls-alpn-01), wants accounts to be bound with key-1, and its own certificate is
//	               issued by ca. What it issues is verified by the authority "pebble".
//	acme plant PAIR GLOB   put a certificate and key into the one file of the storage that matches, in place of what it holds
//
// A script that needs it begins with "[!pebble] skip"; under CI=true there must be one.
func (c call) acme(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "start":
		return c.startACME()
	case len(args) == 3 && args[0] == "plant":
		files, err := filepath.Glob(filepath.Join(c.run, args[2]))
		p := c.issued.pairs[args[1]]
		if err != nil || len(files) != 1 || p == nil {
			return fmt.Errorf("files %q, %v", files, err)
		}
		return os.WriteFile(files[0], append(p.KeyPEM(), p.CertPEM()...), 0o600)
	}
	return usage("acme start | acme plant PAIR GLOB")
}

func (c call) startACME() error {
	path, err := pebbleProgram()
	if err != nil {
		return err
	}
	dns, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a := &acmeServer{dns: dns}
	c.acmes = append(c.acmes, a)
	go answerNames(dns)
	directory, err := c.port("ACME")
	if err != nil {
		return err
	}
	management, err := c.port("ACMEROOT")
	if err != nil {
		return err
	}
	cert, key := c.issued.authorities["ca"].Issue(pki.Options{Names: []string{"127.0.0.1"}}).Write(c.run, "pebble")
	number := func(name string) int { n, _ := strconv.Atoi(c.get(name)); return n }
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", directory), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management), "certificate": cert, "privateKey": key,
		"httpPort": number("PLAIN"), "tlsPort": number("PORT2"), "externalAccountBindingRequired": true,
		"externalAccountMACKeys": map[string]string{"key-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
		"retryAfter":             map[string]int{"authz": 1, "order": 1},
		"profiles":               map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err != nil {
		return err
	}
	out, err := os.Create(c.file("pebble.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	a.cmd = exec.Command(path, "-config", pki.WriteFile(c.run, "pebble.json", conf), "-dnsserver", dns.Addr().String())
	a.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	a.cmd.Stdout, a.cmd.Stderr = out, out
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	return c.until(func() error { return c.trustACME(management) })
}

// trustACME learns who signs what the server issues.
func (c call) trustACME(port int) error {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.issued.authorities["ca"].Pool()}}}
	res, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/roots/0", port))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("no root")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err == nil {
		c.issued.authorities["pebble"] = &pki.Authority{Cert: cert}
		pki.WriteFile(c.dir, "pebble.pem", text)
	}
	return err
}

// answerNames says 127.0.0.1 to every question for an address, and nothing to all others. It speaks DNS over TCP, as pebble does.
func answerNames(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(acmePatience))
			for {
				var size [2]byte
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(conn, question); err != nil {
					return
				}
				answer := answerName(question)
				if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
					return
				}
			}
		}()
	}
}

func answerName(question []byte) []byte {
	end := 12
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	if end+5 > len(question) {
		return nil
	}
	answer := append([]byte{question[0], question[1], 0x84, 0x00, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end+5]...)
	if binary.BigEndian.Uint16(question[end+1:]) == 1 {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1)
	}
	return answer
}

// acmePatience is how long a certificate may take: the server makes its clients wait.
const acmePatience = 40 * time.Second
