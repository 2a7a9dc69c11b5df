package daemon

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// maxTrial bounds the trial of a new process: no other change is made meanwhile.
const maxTrial = 10 * time.Minute

// postRestart replaces a service, with a trial when one is asked for.
func (d *Daemon) postRestart(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var trial time.Duration
	if text := query.Get("trial_ms"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 || ms > maxTrial.Milliseconds() {
			fail(w, http.StatusBadRequest, "a trial lasts at most "+maxTrial.String(), "")
			return
		}
		trial = time.Duration(ms) * time.Millisecond
	}
	drain := flag(query.Get("drain"))
	actWithin(actTimeout+trial, func(s *supervise.Service, ctx context.Context) (err error) {
		if trial > 0 {
			err = s.Canary(ctx, trial)
		} else {
			err = s.Restart(ctx)
		}
		if err == nil && drain {
			err = s.Drained(ctx)
		}
		return err
	})(d, w, r)
}
