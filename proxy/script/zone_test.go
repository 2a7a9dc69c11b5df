package script

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/names"
)

// zone is a name server and the webhook that changes what it says. Every name has the address 127.0.0.1, and the texts that the webhook was asked for.
type zone struct {
	names *names.Server
	hook  *httptest.Server

	mu        sync.Mutex // guards the rest
	texts     map[string][]string
	mode      string // of the webhook
	requests  int    // to the webhook
	questions int    // for texts
	late      int    // questions for texts that are answered as if there were none
	presented time.Time
	delay     time.Duration // from the first request to the first question for a text, 0 = none came yet
	gone      chan struct{}
}

func newZone(cert tls.Certificate) (*zone, error) {
	z := &zone{texts: map[string][]string{}, mode: "ok", gone: make(chan struct{})}
	var err error
	if z.names, err = names.Run(); err != nil {
		return nil, err
	}
	z.names.Mask(z.answer)
	z.hook = httptest.NewUnstartedServer(http.HandlerFunc(z.change))
	z.hook.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	z.hook.StartTLS()
	return z, nil
}

func (z *zone) close() {
	close(z.gone)
	z.names.Stop()
	z.hook.CloseClientConnections()
	z.hook.Close()
}

func (z *zone) hookPort() string { return strconv.Itoa(z.hook.Listener.Addr().(*net.TCPAddr).Port) }

// command is what scripts may say to it:
//
//	ok | lie | hang | deny   do what is asked; say so and do nothing; do not answer; answer 403
//	late N                   the next N questions for texts find none
//	forget                   the counts below
//	requests OP N, questions OP N, texts OP N, delay OP MILLISECONDS    OP is = or >=
func (z *zone) command(args []string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case len(args) == 1 && args[0] == "forget":
		z.requests, z.questions, z.presented, z.delay = 0, 0, time.Time{}, 0
		return nil
	case len(args) == 1 && slices.Contains([]string{"ok", "lie", "hang", "deny"}, args[0]):
		z.mode = args[0]
		return nil
	case len(args) == 2 && args[0] == "late":
		var err error
		z.late, err = strconv.Atoi(args[1])
		return err
	case len(args) != 3:
		return usage("acme hook: see zone.command")
	}
	all := 0
	for _, t := range z.texts {
		all += len(t)
	}
	got, known := map[string]int{"requests": z.requests, "questions": z.questions, "texts": all, "delay": int(z.delay.Milliseconds())}[args[0]]
	want, err := strconv.Atoi(args[2])
	if err != nil || !known {
		return usage("acme hook: see zone.command")
	}
	if args[1] == "=" && got == want || args[1] == ">=" && got >= want {
		return nil
	}
	return fmt.Errorf("%d %s", got, args[0])
}

// change is the webhook.
func (z *zone) change(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Action, Domain, FQDN, Value string
		TTL                         int
	}
	bad := json.NewDecoder(r.Body).Decode(&ask)
	z.mu.Lock()
	z.requests++
	mode := z.mode
	z.mu.Unlock()
	switch {
	case mode == "hang":
		select {
		case <-r.Context().Done():
		case <-z.gone:
		}
		panic(http.ErrAbortHandler) // to return would be to answer 200
	case mode == "deny" || r.Method != "POST" || r.Header.Get("X-Token") != "Bearer abc" || r.Header.Get("Content-Type") != "application/json":
		w.WriteHeader(403)
		fmt.Fprintln(w, "no such zone")
		return
	case bad != nil || ask.FQDN != "_acme-challenge."+ask.Domain || len(ask.Value) != 43 || ask.TTL != 60:
		w.WriteHeader(400)
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	name := ask.FQDN + "."
	switch ask.Action {
	case "present":
		if z.presented.IsZero() {
			z.presented = time.Now()
		}
		if mode != "lie" {
			z.texts[name] = append(z.texts[name], ask.Value)
		}
	case "cleanup":
		z.texts[name] = slices.DeleteFunc(z.texts[name], func(s string) bool { return s == ask.Value })
	default:
		w.WriteHeader(400)
	}
}

// answer answers a question.
func (z *zone) answer(question, answer *dns.Msg) {
	name := question.Question[0].Name
	head := dns.RR_Header{Name: name, Rrtype: question.Question[0].Qtype, Class: dns.ClassINET, Ttl: 1}
	answer.Rcode = dns.RcodeSuccess
	switch head.Rrtype {
	case dns.TypeA:
		answer.Answer = []dns.RR{&dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)}}
	case dns.TypeTXT:
		for _, text := range z.ask(strings.ToLower(name)) {
			answer.Answer = append(answer.Answer, &dns.TXT{Hdr: head, Txt: []string{text}})
		}
	}
}

// ask counts a question for texts.
func (z *zone) ask(name string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.questions++; z.delay == 0 && !z.presented.IsZero() {
		z.delay = time.Since(z.presented)
	}
	if z.late > 0 {
		z.late--
		return nil
	}
	return slices.Clone(z.texts[name])
}
