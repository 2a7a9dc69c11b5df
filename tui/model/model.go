// Package model is the dashboard's state: what was read from the stack and the proxy, what the person at the keyboard selected,
// and the rates and quantiles that follow from successive readings. It is pure: messages go in through Update, effects come out,
// nothing here draws, reads a clock or talks to a socket.
package model

import (
	"time"

	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// Options are fixed for the life of a dashboard.
type Options struct {
	ReadOnly bool          // refuse restart, stop, start and reload
	Refresh  time.Duration // between two readings; at least 100 ms
}

// Pane is one of the six views.
type Pane int

// The panes in the order of their number keys.
const (
	Routes Pane = iota
	Upstreams
	Agents
	Services
	Logs
	Events
	paneCount
)

var paneNames = [paneCount]string{"Routes", "Upstreams", "Agents", "Services", "Logs", "Events"}

// String returns the pane's title.
func (p Pane) String() string {
	if p < 0 || p >= paneCount {
		return ""
	}
	return paneNames[p]
}

// Panes returns every pane in order.
func Panes() []Pane { return []Pane{Routes, Upstreams, Agents, Services, Logs, Events} }

const (
	// maxLogLines and maxEvents bound what is kept in memory for scrolling back.
	maxLogLines = 10_000
	maxEvents   = 2_000
	// maxLogText bounds one kept line; the full line is in the stack's own log.
	maxLogText = 4 << 10
	// noticeLife is how long the outcome of an action stays on the last line.
	noticeLife = 6 * time.Second
	// staleTicks is how many refresh intervals may pass without a reading before the screen says so.
	staleTicks = 3
	// maxFilter bounds what can be typed after "/".
	maxFilter = 200
)

// Confirm is a question that waits for y or n.
type Confirm struct {
	Effect Effect
	Text   string
}

// Notice is the outcome of the last action, shown for a few seconds.
type Notice struct {
	Text     string
	Severity Severity
	until    time.Time
}

// Model is the whole state of the dashboard. The zero value is not usable; call New.
type Model struct {
	opt           Options
	width, height int
	pane          Pane
	lists         [paneCount]list
	filters       [paneCount]string
	editing       bool // the filter of the current pane is being typed
	help          bool
	detail        bool // Enter was pressed on the selected row
	detailTop     int
	paused        bool
	faultsOnly    bool
	confirm       *Confirm
	notice        Notice
	now           time.Time

	readings readings
	pending  *Snapshot // arrived while paused
	contact  contact

	routes    []RouteRow
	targets   []TargetRow
	agents    []AgentRow
	services  []ServiceRow
	shown     shown
	summary   Summary
	faults    []Fault
	logs      ring[LogEntry]
	events    ring[stackapi.Event]
	logFollow bool
	logCursor uint64 // sequence number of the selected line when not following
}

// contact is how the conversation with the other side stands.
type contact struct {
	ever     bool // a reading has arrived
	lastGood time.Time
	err      string // of the last reading, "" when it was good
	proxyErr string
	retryAt  time.Time
}

// New returns an empty dashboard of 80 by 24 cells at the given time.
func New(o Options, now time.Time) *Model {
	o.Refresh = max(o.Refresh, 100*time.Millisecond)
	return &Model{
		opt: o, width: 80, height: 24, now: now, logFollow: true,
		logs:   ring[LogEntry]{limit: maxLogLines},
		events: ring[stackapi.Event]{limit: maxEvents},
	}
}

// Update takes one message in and returns what the program should do about it.
func (m *Model) Update(msg any) []Effect {
	switch v := msg.(type) {
	case Tick:
		m.tick(time.Time(v))
	case Resize:
		m.width, m.height = clamp(v.Width, 0, 10_000), clamp(v.Height, 0, 10_000)
	case Key:
		return m.key(string(v))
	case Snapshot:
		m.tick(v.At)
		m.receive(&v)
	case LogLines:
		m.addLogs(v)
	case EventList:
		for _, e := range v {
			m.events.push(e)
		}
		m.filterEvents()
	case Done:
		m.done(v)
	}
	return nil
}

func (m *Model) tick(now time.Time) {
	if now.After(m.now) {
		m.now = now
	}
	if m.notice.Text != "" && m.now.After(m.notice.until) {
		m.notice = Notice{}
	}
}

func (m *Model) receive(s *Snapshot) {
	m.contact.err, m.contact.proxyErr, m.contact.retryAt = s.Err, s.ProxyErr, s.RetryAt
	if s.Err != "" {
		m.summarise()
		return
	}
	m.contact.ever, m.contact.lastGood = true, s.At
	m.readings.add(s)
	if m.paused {
		m.pending = s
		m.summarise() // the rows stand still, the state of the connection does not
		return
	}
	m.show()
}

// show makes the newest reading the visible one.
func (m *Model) show() {
	m.pending = nil
	m.buildRows()
	m.summarise()
	m.refilter()
}

func (m *Model) done(d Done) {
	m.notice = Notice{Text: d.Effect.Describe() + ": done", Severity: OK, until: m.now.Add(noticeLife)}
	if d.Err != "" {
		m.notice = Notice{Text: d.Effect.Describe() + ": " + d.Err, Severity: Bad, until: m.now.Add(2 * noticeLife)}
	}
}

func (m *Model) say(s Severity, text string) {
	m.notice = Notice{Text: text, Severity: s, until: m.now.Add(noticeLife)}
}

// Size returns the terminal's width and height in cells.
func (m *Model) Size() (width, height int) { return m.width, m.height }

// Pane returns the pane in front.
func (m *Model) Pane() Pane { return m.pane }

// Now returns the time of the last message that carried one.
func (m *Model) Now() time.Time { return m.now }

// ReadOnly says whether actions are refused.
func (m *Model) ReadOnly() bool { return m.opt.ReadOnly }

// Help says whether the key table is open.
func (m *Model) Help() bool { return m.help }

// Paused says whether the screen is frozen.
func (m *Model) Paused() bool { return m.paused }

// FaultsOnly says whether healthy rows are hidden.
func (m *Model) FaultsOnly() bool { return m.faultsOnly }

// Detail returns whether the selected row is open, and how far its text is scrolled.
func (m *Model) Detail() (open bool, top int) { return m.detail, m.detailTop }

// Filter returns the filter of the pane in front and whether it is being typed.
func (m *Model) Filter() (text string, editing bool) { return m.filters[m.pane], m.editing }

// Confirm returns the open question or nil.
func (m *Model) Confirm() *Confirm { return m.confirm }

// Notice returns the outcome of the last action; its text is empty when there is none.
func (m *Model) Notice() Notice { return m.notice }

// Cursor returns the selected row of the pane in front, 0 when it is empty.
func (m *Model) Cursor() int { return m.lists[m.pane].cursor }

// Connection describes the conversation with the stack.
type Connection struct {
	Ever     bool          // something was read since the start
	Err      string        // why the last reading failed, "" when it did not
	ProxyErr string        // why the proxy's own figures are missing
	Age      time.Duration // of what is on the screen
	Stale    bool
	Retry    time.Duration // until the next attempt
}

// Connection says how old the screen is and why.
func (m *Model) Connection() Connection {
	c := Connection{Ever: m.contact.ever, Err: m.contact.err, ProxyErr: m.contact.proxyErr}
	if c.Ever {
		c.Age = max(m.now.Sub(m.contact.lastGood), 0)
	}
	c.Stale = c.Ever && c.Age > staleTicks*m.opt.Refresh
	if c.Err != "" {
		c.Retry = max(m.contact.retryAt.Sub(m.now), 0)
	}
	return c
}

func clamp(v, lo, hi int) int { return max(lo, min(v, hi)) }
