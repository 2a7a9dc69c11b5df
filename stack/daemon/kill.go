package daemon

import (
	"fmt"
	"net/http"

	"golang.org/x/sys/unix"
)

// postKill sends a signal to a service's processes. Unlike other changes it does not wait for one that is under way: that one may hang because of the very process.
func (d *Daemon) postKill(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	s := d.find(name)
	if s == nil {
		noService(w, name)
		return
	}
	sig := unix.SIGKILL
	if want := r.URL.Query().Get("signal"); want != "" {
		var err error
		if sig, err = signalNumber(want); err != nil {
			fail(w, http.StatusBadRequest, err.Error(), "write a name such as HUP or USR1")
			return
		}
	}
	if snap := s.Snapshot(); snap.PID == 0 {
		fail(w, http.StatusConflict, fmt.Sprintf("%s is %s: there is no process to send a signal to", name, snap.State), "")
		return
	}
	d.Note("info", fmt.Sprintf("%s is sent %s, as was asked for", name, unix.SignalName(sig)))
	if err := s.Signal(r.Context(), sig); err != nil {
		fail(w, http.StatusConflict, err.Error(), "")
		return
	}
	snap := s.Snapshot()
	d.sampler.fill(d, &snap)
	reply(w, snap)
}
