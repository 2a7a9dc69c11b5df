package build

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/server"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// listenerTLS makes what a listener speaks TLS with, nil for one that speaks plain. What is wrong with a file is said where the file is named.
func (s *Set) listenerTLS(l *config.Listener, prev *Set) (*tlsconf.Server, error) {
	if l.TLS == nil {
		return nil, nil
	}
	path := "listeners." + l.ID + ".tls."
	t, err := tlsconf.NewServer(l.TLS, s.Loaded.Material, prev.serverOf(l.ID))
	if err != nil {
		return nil, s.certificateFault(path, err)
	}
	if l.HTTP2.ALPN {
		t.OfferHTTP2(l.HTTP2.Only)
	}
	shows := false
	for _, a := range l.TLS.ACMEs() {
		if s.challenges == nil {
			s.challenges = prev.sharedChallenges()
		}
		shows = shows || a.ChallengeType == "tls-alpn-01"
	}
	if shows {
		t.Show(s.challenges)
	}
	for _, note := range t.Notes(time.Now()) {
		s.Loaded.Warn(path+note.Path, "certificate", note.Err.Error())
	}
	return t, nil
}

func (s *Set) certificateFault(path string, err error) error {
	var f *tlsconf.Fault
	if errors.As(err, &f) {
		return s.Loaded.Fault(path+f.Path, "certificate", f.Err.Error())
	}
	return err
}

// serverOf is what a listener spoke TLS with before.
func (s *Set) serverOf(id string) *tlsconf.Server {
	if s == nil {
		return nil
	}
	for i := range s.Generation.Listeners {
		if l := &s.Generation.Listeners[i]; l.ID == id {
			return l.TLS
		}
	}
	return nil
}

// startTLS begins what listeners do in the background; give ends it.
func (s *Set) startTLS(g *server.Generation) {
	ctx, cancel := context.WithCancel(context.Background())
	s.background.stop = cancel
	for i := range g.Listeners {
		l := &g.Listeners[i]
		if l.TLS == nil {
			continue
		}
		log := s.deps.Log.With("listener", l.ID)
		s.background.running.Go(func() {
			l.TLS.Run(ctx, tlsconf.Background{
				Log: log, Asked: l.Metrics.TLS.Staples.Add, Challenges: s.challenges,
				Hooked: l.Metrics.TLS.Hooked.Add,
				Issued: func(name, result string) {
					l.Metrics.TLS.Issued.Add(name, result)
					showExpiries(l)
				},
			})
		})
	}
}

// background is what runs for a generation.
type background struct {
	stop    context.CancelFunc
	running sync.WaitGroup
}

func (b *background) end() {
	if b.stop != nil {
		b.stop()
		b.running.Wait()
	}
}

// showCertificates tells the metrics when certificates expire.
func showCertificates(g *server.Generation) {
	for i := range g.Listeners {
		l := &g.Listeners[i]
		if l.TLS == nil {
			continue
		}
		showExpiries(l)
	}
}

func showExpiries(l *server.Listener) {
	expire := map[observe.Certificate]time.Time{}
	for _, e := range l.TLS.Held() {
		if e.After.IsZero() {
			continue // not issued yet
		}
		cert := observe.Certificate{Name: e.Name, Key: e.Key}
		if known, ok := expire[cert]; !ok || e.After.Before(known) {
			expire[cert] = e.After
		}
	}
	l.Metrics.TLS.Certificates(expire)
}

// sharedChallenges are those of the former generation, or the first ones.
func (s *Set) sharedChallenges() *tlsconf.Challenges {
	if s != nil && s.challenges != nil {
		return s.challenges
	}
	return &tlsconf.Challenges{}
}

// upstreamFault finds the upstream that an error of its certificates is about.
func (s *Set) upstreamFault(err error) error {
	var f *tlsconf.Fault
	if !errors.As(err, &f) {
		return err
	}
	for _, u := range s.Loaded.Config.Upstreams {
		if _, bad := tlsconf.NewClient(u.TLS, s.Loaded.Material); bad != nil {
			return s.certificateFault("upstreams."+u.ID+".tls.", bad)
		}
	}
	return err
}

// Certificates shows those of every listener, and those that ACME servers have not issued yet.
func (s *Set) Certificates() []api.Certificate {
	var out []api.Certificate
	for i := range s.Generation.Listeners {
		l := &s.Generation.Listeners[i]
		for _, h := range l.TLS.Held() {
			c := api.Certificate{Listener: l.ID, Name: h.Name, Names: h.Names, Key: h.Key, Expires: h.After, Source: "file", Failures: h.Fails, LastError: h.Trouble}
			if h.Managed {
				c.Source = "acme"
			}
			out = append(out, c)
		}
	}
	return out
}
