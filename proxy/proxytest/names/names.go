// Package names is a name server for tests, whose answers they choose.
package names

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// Server is a running name server, over UDP and TCP.
type Server struct {
	Addr string // host:port

	asked   atomic.Int64
	servers []*dns.Server
	running sync.WaitGroup

	mu   sync.Mutex // guards the rest
	zone map[string][]dns.RR
	mask func(question, answer *dns.Msg)
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Run runs a server until Stop.
func Run() (*Server, error) {
	for range 20 { // until a port is free for both
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err != nil {
			_ = pc.Close()
			continue
		}
		s := &Server{Addr: pc.LocalAddr().String(), zone: map[string][]dns.RR{}}
		for _, one := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: ln, Handler: s}} {
			ready := make(chan struct{})
			one.NotifyStartedFunc = func() { close(ready) }
			s.running.Go(func() { _ = one.ActivateAndServe() })
			<-ready
			s.servers = append(s.servers, one)
		}
		return s, nil
	}
	return nil, errors.New("no port is free for UDP and TCP")
}

// Stop ends it.
func (s *Server) Stop() {
	for _, one := range s.servers {
		_ = one.Shutdown()
	}
	s.running.Wait()
}

// Set makes records, in the form of zone files, the answer to one question; none = the name has none of this type. Names that were never set do not exist.
func (s *Server) Set(name, kind string, records ...string) {
	list := []dns.RR{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", text, err))
		}
		list = append(list, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name+" "+kind] = list
}

// Mask changes every answer from now on; nil ends that.
func (s *Server) Mask(f func(question, answer *dns.Msg)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mask = f
}

// Asked is how many questions came.
func (s *Server) Asked() int64 { return s.asked.Load() }

// maxDatagram is what fits into an answer over UDP here; a longer one is truncated.
const maxDatagram = 1200

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.asked.Add(1)
	a := new(dns.Msg).SetReply(q)
	s.mu.Lock()
	records, known := s.zone[q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype]]
	mask := s.mask
	s.mu.Unlock()
	if !known {
		a.Rcode = dns.RcodeNameError
	}
	a.Answer = records
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp && a.Len() > maxDatagram {
		a.Answer, a.Truncated = nil, true
	}
	if mask != nil {
		mask(q, a)
	}
	_ = w.WriteMsg(a)
}
