package model

import (
	"strings"
	"unicode/utf8"
)

// key handles one key press. What is open decides who gets it: a question, the filter line, the help, then the pane.
func (m *Model) key(k string) []Effect {
	switch {
	case k == "ctrl+c":
		return []Effect{{Verb: Quit}}
	case m.confirm != nil:
		return m.answer(k)
	case m.editing:
		m.edit(k)
		return nil
	case m.help:
		if k == "q" {
			return []Effect{{Verb: Quit}}
		}
		m.help = false
		return nil
	}
	if effects, done := m.globalKey(k); done {
		return effects
	}
	m.moveKey(k)
	return nil
}

// answer takes y as yes and every other key as no, so that a slip never stops a service.
func (m *Model) answer(k string) []Effect {
	c := m.confirm
	m.confirm = nil
	if k != "y" && k != "Y" {
		m.say(Idle, c.Effect.Describe()+": not done")
		return nil
	}
	m.say(Idle, c.Effect.Describe()+" …")
	return []Effect{c.Effect}
}

func (m *Model) edit(k string) {
	f := &m.filters[m.pane]
	switch k {
	case "enter":
		m.editing = false
	case "esc":
		m.editing, *f = false, ""
	case "backspace":
		if *f != "" {
			_, size := utf8.DecodeLastRuneInString(*f)
			*f = (*f)[:len(*f)-size]
		}
	case "ctrl+u":
		*f = ""
	case "space":
		m.appendFilter(" ")
	default:
		if utf8.RuneCountInString(k) == 1 {
			m.appendFilter(k)
		}
	}
	m.refilter()
}

func (m *Model) appendFilter(s string) {
	if len(m.filters[m.pane])+len(s) <= maxFilter && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0 {
		m.filters[m.pane] += s
	}
}

func (m *Model) globalKey(k string) (effects []Effect, done bool) {
	switch k {
	case "q":
		return []Effect{{Verb: Quit}}, true
	case "?":
		m.help = true
	case "tab", "right":
		m.turnTo((m.pane + 1) % paneCount)
	case "shift+tab", "left":
		m.turnTo((m.pane + paneCount - 1) % paneCount)
	case "1", "2", "3", "4", "5", "6":
		m.turnTo(Pane(k[0] - '1'))
	case "/":
		m.editing, m.detail = true, false
	case "p":
		m.togglePause()
	case "z":
		m.faultsOnly = !m.faultsOnly
		m.refilter()
	case "esc":
		m.back()
	case "enter":
		m.detail, m.detailTop = m.canOpen(), 0
	case "f":
		m.logFollow = !m.logFollow
		m.logCursor = max(m.logs.next, 1) - 1
	case "l":
		m.openLogs()
	case "r":
		m.ask(Restart)
	case "s":
		m.ask(Stop)
	case "S":
		m.ask(Start)
	case "R":
		m.ask(Reload)
	default:
		return nil, false
	}
	return nil, true
}

func (m *Model) turnTo(p Pane) {
	m.pane, m.detail, m.detailTop = p, false, 0
}

func (m *Model) back() {
	switch {
	case m.detail:
		m.detail = false
	case m.filters[m.pane] != "":
		m.filters[m.pane] = ""
		m.refilter()
	case m.faultsOnly:
		m.faultsOnly = false
		m.refilter()
	}
}

func (m *Model) togglePause() {
	m.paused = !m.paused
	if !m.paused && m.pending != nil {
		m.show()
	}
}

func (m *Model) canOpen() bool {
	if m.pane == Logs {
		return m.SelectedLog() != nil
	}
	return m.rowCount(m.pane) > 0
}

// openLogs turns to the log lines of the selected service or agent.
func (m *Model) openLogs() {
	name := m.selectedService()
	if name == "" {
		m.say(Idle, "select a service or an agent first")
		return
	}
	m.filters[Logs], m.logFollow = name, true
	m.turnTo(Logs)
}

// selectedService returns the supervised service behind the selected row, or "".
func (m *Model) selectedService() string {
	i := m.lists[m.pane].cursor
	switch {
	case m.pane == Services && i < len(m.shown.services):
		return m.shown.services[i].Name
	case m.pane == Agents && i < len(m.shown.agents):
		return m.shown.agents[i].Service
	case m.pane == Events && i < len(m.shown.events):
		return m.shown.events[i].Service
	default:
		return ""
	}
}

// ask opens the question before an action, or says why there is none.
func (m *Model) ask(v Verb) {
	e := Effect{Verb: v}
	switch {
	case m.opt.ReadOnly:
		m.say(Warn, "read-only: "+e.Describe()+" refused")
		return
	case m.summary.StackMissing || !m.contact.ever:
		m.say(Warn, "no stack: nothing to "+e.Describe())
		return
	}
	if v != Reload {
		if m.pane == Services || m.pane == Agents {
			e.Service = m.selectedService()
		}
		if e.Service == "" {
			m.say(Idle, "select a service first (pane 4)")
			return
		}
	}
	m.confirm = &Confirm{Effect: e, Text: e.Describe() + "? y/n"}
}

func (m *Model) moveKey(k string) {
	page := max(m.height-8, 1)
	var delta int
	switch k {
	case "j", "down":
		delta = 1
	case "k", "up":
		delta = -1
	case "ctrl+d":
		delta = max(page/2, 1)
	case "ctrl+u":
		delta = -max(page/2, 1)
	case "pgdown":
		delta = page
	case "pgup":
		delta = -page
	case "g", "home":
		delta = -maxLogLines
	case "G", "end":
		delta = maxLogLines
	default:
		return
	}
	switch {
	case m.detail:
		m.detailTop = clamp(m.detailTop+delta, 0, maxLogLines)
	case m.pane == Logs:
		m.moveLog(delta)
	default:
		p := m.pane
		m.lists[p].move(delta, m.rowCount(p), func(i int) string { return m.rowKey(p, i) })
	}
}
