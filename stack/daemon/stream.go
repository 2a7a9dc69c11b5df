package daemon

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// stream writes JSON lines; each must reach the client in time.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
	s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(http.StatusOK)
	s.rc.Flush()
	return s
}

func (s *stream) send(v any, flush bool) error {
	s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	err := s.enc.Encode(v)
	if err == nil && flush {
		err = s.rc.Flush()
	}
	return err
}

func (d *Daemon) getLogs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := api.LogQuery{Services: query["service"], Grep: query.Get("grep"), Request: query.Get("request"), Lines: 100}
	var err error
	if n := query.Get("n"); n != "" {
		q.Lines, err = strconv.Atoi(n)
	}
	if since := query.Get("since"); since != "" && err == nil {
		q.Since, err = time.Parse(time.RFC3339Nano, since)
	}
	filter, filterErr := logs.NewFilter(q)
	if err = errors.Join(err, filterErr); err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	for _, name := range q.Services {
		if d.find(name) == nil && d.find(plan.InstanceName(name, 1)) == nil && !d.logs.Knows(name) { // one that was removed is still remembered
			noService(w, name)
			return
		}
	}
	if !flag(query.Get("follow")) {
		s := newStream(w)
		for _, l := range d.logs.Query(filter, q.Lines) {
			if s.send(l, false) != nil {
				return
			}
		}
		return
	}
	past, sub := d.logs.Follow(filter, q.Lines)
	defer sub.Cancel()
	s := newStream(w)
	for _, l := range past {
		if s.send(l, false) != nil {
			return
		}
	}
	s.rc.Flush()
	for {
		l, ok := sub.Next(r.Context())
		if !ok || s.send(l, true) != nil {
			return
		}
	}
}

func (d *Daemon) getEvents(w http.ResponseWriter, r *http.Request) {
	s := newStream(w)
	d.events.follow(r.Context(), flag(r.URL.Query().Get("follow")), func(e api.Event) error { return s.send(e, true) })
}

func flag(v string) bool { return v == "1" || v == "true" }
