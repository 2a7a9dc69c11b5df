package script

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

// acmeServer is a running pebble with the name server it asks.
type acmeServer struct {
	cmd  *exec.Cmd
	zone *zone
}

func (a *acmeServer) stop() {
	if a.cmd != nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
	if a.zone != nil {
		a.zone.close()
	}
}

// acme runs an ACME server.
//
//	acme start     at $ACME; it looks for proofs at $PLAIN (http-01) and $PORT2 (tls-alpn-01), wants accounts to be bound with key-1, and its own certificate is
//	               issued by ca. What it issues is verified by the authority "pebble".
//	acme hook …    see zone.command: the webhook at $HOOK that changes what the name server at the address $DNS says
//	acme plant PAIR GLOB   put a certificate and key into the one file of the storage that matches, in place of what it holds
//
// A script that needs it begins with "[!pebble] skip"; under CI=true there must be one.
func (c call) acme(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "start":
		return c.startACME()
	case len(args) >= 2 && args[0] == "hook" && len(c.acmes) > 0:
		return c.acmes[len(c.acmes)-1].zone.command(args[1:])
	case len(args) == 3 && args[0] == "plant":
		files, err := filepath.Glob(filepath.Join(c.run, args[2]))
		p := c.issued.pairs[args[1]]
		if err != nil || len(files) != 1 || p == nil {
			return fmt.Errorf("files %q, %v", files, err)
		}
		return os.WriteFile(files[0], append(p.KeyPEM(), p.CertPEM()...), 0o600)
	}
	return usage("acme start | acme hook … | acme plant PAIR GLOB")
}

func (c call) startACME() error {
	path, err := pebbleProgram()
	if err != nil {
		return err
	}
	z, err := newZone(c.issued.authorities["ca"].Issue(pki.Options{Names: []string{"127.0.0.1"}}).TLS())
	if err != nil {
		return err
	}
	a := &acmeServer{zone: z}
	c.acmes = append(c.acmes, a)
	c.set("DNS", z.names.Addr)
	c.set("HOOK", z.hookPort())
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
	a.cmd = exec.Command(path, "-config", pki.WriteFile(c.run, "pebble.json", conf), "-dnsserver", z.names.Addr)
	a.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0") // every certificate needs new proofs
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

// acmePatience is how long a certificate may take: the server makes its clients wait.
const acmePatience = 40 * time.Second
