package daemon

import (
	"fmt"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/logs"
)

// logTrouble says that log files cannot be written, once however long it lasts, and that they can again. The lines are still in memory, for as long as there is room.
func (d *Daemon) logTrouble(t logs.Trouble) {
	e := api.Event{Time: time.Now(), Kind: "logs", To: "failing"}
	if t.Err != nil {
		e.Reason = t.Err.Error()
		d.logs.Note("error", "log files cannot be written, lines are lost until they can: "+e.Reason)
	} else {
		e.To, e.Reason = "written", fmt.Sprintf("lines that were lost: %d", t.Lost)
		d.logs.Note("info", "log files are written again; "+e.Reason)
	}
	d.emit(e)
}
