// Package systemd is the supervisor's side towards the service manager above it: sockets it was given and states it reports.
// Without a service manager everything here does nothing.
package systemd

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Files returns the sockets this process was started with (LISTEN_FDS), each named as FileDescriptorName= says, and removes the variables, so that
// services do not see them.
func Files() []*os.File { return activation.Files(true) }

// Notifier reports to NOTIFY_SOCKET. It is safe for concurrent use.
type Notifier struct {
	active   bool
	watchdog time.Duration
}

// NewNotifier looks whether a service manager listens. NOTIFY_SOCKET stays in this process's environment; services are given their own.
func NewNotifier() *Notifier {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		interval = 0
	}
	return &Notifier{active: os.Getenv("NOTIFY_SOCKET") != "", watchdog: interval}
}

// WatchdogInterval is how often the manager must hear Alive, 0 = it does not watch.
func (n *Notifier) WatchdogInterval() time.Duration { return n.watchdog }

// Ready says that everything was started, with a line for systemctl status.
func (n *Notifier) Ready(status string) { n.send(daemon.SdNotifyReady, "STATUS="+oneLine(status)) }

// Status changes the line for systemctl status.
func (n *Notifier) Status(status string) { n.send("STATUS=" + oneLine(status)) }

// Alive feeds the watchdog.
func (n *Notifier) Alive() { n.send(daemon.SdNotifyWatchdog) }

// Stopping says that shutdown has begun.
func (n *Notifier) Stopping(status string) {
	n.send(daemon.SdNotifyStopping, "STATUS="+oneLine(status))
}

// Extend asks for at least d from now on before the start or the stop under way counts as hung.
func (n *Notifier) Extend(d time.Duration, status string) {
	n.send("EXTEND_TIMEOUT_USEC="+strconv.FormatInt(d.Microseconds(), 10), "STATUS="+oneLine(status))
}

// Reloading says that a reload has begun; Ready ends it. Type=notify-reload requires the time on the monotonic clock.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return
	}
	n.send(daemon.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10), "STATUS=loading the configuration")
}

// send is best effort: a manager that does not listen must not hurt the services.
func (n *Notifier) send(lines ...string) {
	if n.active {
		daemon.SdNotify(false, strings.Join(lines, "\n"))
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
