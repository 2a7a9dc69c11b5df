package tlsconf

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// hook is a webhook that notes what it is asked, and answers what the test says.
type hook struct {
	*httptest.Server
	reply func(w http.ResponseWriter, r *http.Request, action string)

	mu    sync.Mutex // guards the rest
	asked []string   // actions
}

func newHook(t *testing.T, reply func(w http.ResponseWriter, r *http.Request, action string)) *hook {
	h := &hook{reply: reply}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask dnsRequest
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		h.asked = append(h.asked, ask.Action)
		h.mu.Unlock()
		h.reply(w, r, ask.Action)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) actions() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

// show has a proof put into the zone by a provider, and notes in results what the requests came to.
func show(t *testing.T, ctx context.Context, url string, results *[]string) (withdraw func(), err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDNSProvider(&config.DNSProvider{URL: url, Timeout: time.Minute, CheckInterval: time.Millisecond, Patience: time.Minute, Nameservers: []string{"127.0.0.1:1"}}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &Background{Log: slog.New(slog.DiscardHandler), Hooked: func(action, result string) { *results = append(*results, action+" "+result) }}
	return d.present(ctx, &acme.Client{Key: key}, "token", "a.example", b)
}

// A proxy that ends while a proof is in the zone takes it out before it goes.
func TestCleanUpAtTheEnd(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	h := newHook(t, func(_ http.ResponseWriter, _ *http.Request, action string) {
		if action == "present" {
			time.AfterFunc(50*time.Millisecond, end) // no name server ever has the proof
		}
	})
	var results []string
	if _, err := show(t, ctx, h.URL, &results); err == nil {
		t.Error("a proof that nobody saw is taken for visible")
	}
	if got := h.actions(); !slices.Equal(got, []string{"present", "cleanup"}) || !slices.Equal(results, []string{"present done", "cleanup done"}) {
		t.Errorf("%v %v", got, results)
	}
}

// A webhook that hangs in the middle of a cleanup does not keep the proxy from ending for longer than dnsCleanUp, though a request may take a minute.
func TestCleanUpIsBounded(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	h := newHook(t, func(w http.ResponseWriter, r *http.Request, action string) {
		if action == "present" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		end()
		<-r.Context().Done()
	})
	began := time.Now()
	var results []string
	if _, err := show(t, ctx, h.URL, &results); err == nil {
		t.Error("a refusal is taken for success")
	}
	if took := time.Since(began); took > 2*dnsCleanUp || took < dnsCleanUp/2 {
		t.Errorf("took %v", took)
	}
	if !slices.Equal(results, []string{"present refused", "cleanup failed"}) {
		t.Errorf("%v", results)
	}
}

// Errors go to logs, and what stands in the address of the webhook does not.
func TestAddressIsNotLogged(t *testing.T) {
	t.Parallel()
	h := newHook(t, nil)
	h.Close()
	ctx, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	var results []string
	_, err := show(t, ctx, h.URL+"/hidden-path?token=hidden-word", &results)
	if err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
}
