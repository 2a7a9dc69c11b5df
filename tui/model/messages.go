package model

import (
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// Tick carries the time, so that ages and countdowns move on between two readings.
type Tick time.Time

// Resize is the terminal's size in cells.
type Resize struct{ Width, Height int }

// Key is one key press by name: "j", "G", "enter", "esc", "tab", "shift+tab", "up", "ctrl+d", "backspace", "space".
type Key string

// Snapshot is one reading of the stack and the proxy. Err means that nothing could be read; ProxyErr that only the stack answered.
type Snapshot struct {
	At        time.Time
	Stack     *stackapi.Status // nil when there is no stack, only a proxy
	Proxy     *proxyapi.Status // nil when the proxy did not answer
	Routes    []proxyapi.Route
	Upstreams []proxyapi.Upstream
	Agents    []proxyapi.Agent
	Err       string
	ProxyErr  string
	RetryAt   time.Time // of the next attempt, when Err is set
}

// LogLines are new lines, oldest first.
type LogLines []stackapi.LogLine

// EventList holds new events, oldest first.
type EventList []stackapi.Event

// Done is the outcome of an effect; Err is empty when it worked.
type Done struct {
	Effect Effect
	Err    string
}

// Verb is what an effect does.
type Verb int

// The verbs. Quit leaves the dashboard and touches nothing else.
const (
	Quit Verb = iota + 1
	Restart
	Stop
	Start
	Reload
)

var verbNames = [...]string{Quit: "quit", Restart: "restart", Stop: "stop", Start: "start", Reload: "reload"}

// Effect is something the program must do because of a message.
type Effect struct {
	Verb    Verb
	Service string // empty for Quit and Reload
}

// Describe returns the effect in a few words.
func (e Effect) Describe() string {
	name := "unknown"
	if e.Verb > 0 && int(e.Verb) < len(verbNames) {
		name = verbNames[e.Verb]
	}
	if e.Service == "" {
		return name
	}
	return name + " " + e.Service
}
