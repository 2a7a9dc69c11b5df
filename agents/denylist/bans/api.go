package bans

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of the API.
const (
	maxClients    = 64
	maxBody       = 4 << 10
	headerTimeout = time.Second // who says nothing makes place soon
	callTimeout   = 5 * time.Second
	pageSize      = 1000
)

// serve answers on a Unix socket: who may open that may ban.
//
//	GET    /v1/bans?after=NETWORK        {"bans": [Ban…], "more": false}, a page of at most 1,000
//	PUT    /v1/bans?network=NETWORK      {"seconds": 600, "reason": "…"}; Ban
//	DELETE /v1/bans?network=NETWORK      204
func (s *Service) serve(path string) error {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return fmt.Errorf("bans.socket: %s is there and is no socket", path)
		}
		_ = os.Remove(path) // of a process that is gone, or of the configuration before this one
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("bans.socket: cannot listen: %v (a sandbox needs its directory in write)", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // it may be the next one's by then
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return fmt.Errorf("bans.socket: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bans", s.get)
	mux.HandleFunc("PUT /v1/bans", s.put)
	mux.HandleFunc("DELETE /v1/bans", s.del)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout, IdleTimeout: headerTimeout, MaxHeaderBytes: maxBody}
	s.work.Go(func() { _ = s.http.Serve(&narrow{Listener: ln, places: make(chan struct{}, maxClients)}) })
	return nil
}

// narrow lets few connections in at a time; further ones wait in the kernel.
type narrow struct {
	net.Listener
	places chan struct{}
}

func (n *narrow) Accept() (net.Conn, error) {
	n.places <- struct{}{}
	c, err := n.Listener.Accept()
	if err != nil {
		<-n.places
		return nil, err
	}
	return &place{Conn: c, places: n.places}, nil
}

type place struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

func (p *place) Close() error {
	p.once.Do(func() { <-p.places })
	return p.Conn.Close()
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) {
	list, more := s.table.list(r.URL.Query().Get("after"), pageSize, s.now())
	if list == nil {
		list = []Ban{}
	}
	answer(w, http.StatusOK, map[string]any{"bans": list, "more": more})
}

func (s *Service) put(w http.ResponseWriter, r *http.Request) {
	p, err := network(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	var body struct {
		Seconds float64 `json:"seconds"`
		Reason  string  `json:"reason"`
	}
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("the body is not as {\"seconds\": 600, \"reason\": \"text\"}: %v", err))
		return
	}
	length := s.conf.Default
	if body.Seconds != 0 {
		length = time.Duration(body.Seconds * float64(time.Second))
	}
	if body.Seconds < 0 || length <= 0 || length > s.conf.Max {
		refuse(w, http.StatusBadRequest, fmt.Errorf("seconds has to be more than 0 and at most %v", s.conf.Max.Seconds()))
		return
	}
	ban, err := s.ban(p, length, body.Reason)
	if err != nil {
		refuse(w, http.StatusInsufficientStorage, err)
		return
	}
	s.Counters.ByAPI.Add(1)
	s.log.Info("banned", "network", ban.Network, "until", ban.Until, "reason", ban.Reason)
	s.nudge()
	answer(w, http.StatusOK, ban)
}

func (s *Service) del(w http.ResponseWriter, r *http.Request) {
	p, err := network(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if !s.table.lift(p, s.now()) {
		refuse(w, http.StatusNotFound, fmt.Errorf("%s is not banned", p))
		return
	}
	s.Counters.Lifted.Add(1)
	s.log.Info("ban lifted", "network", p)
	s.nudge()
	w.WriteHeader(http.StatusNoContent)
}

// network reads the parameter: an address or a network.
func network(r *http.Request) (netip.Prefix, error) {
	text := r.URL.Query().Get("network")
	p, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err == nil {
		p, err = canonical(p)
	}
	if err != nil {
		return p, fmt.Errorf("network %s: %v", strconv.Quote(text), err)
	}
	return p, nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]string{"error": err.Error()})
}

func (s *Service) stopServing() {
	if s.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}
