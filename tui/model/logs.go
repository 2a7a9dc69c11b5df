package model

import (
	"strings"
	"time"

	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// LogEntry is one kept log line.
type LogEntry struct {
	Time     time.Time
	Service  string
	Level    string
	Text     string
	Dropped  uint64 // lines lost just before this one
	Severity Severity
}

func (m *Model) addLogs(lines LogLines) {
	for i := range lines {
		m.logs.push(newEntry(&lines[i]))
	}
	if !m.logFollow && m.logCursor < m.logs.first() {
		m.logCursor = m.logs.first()
	}
}

func newEntry(l *stackapi.LogLine) LogEntry {
	text := l.Text
	if len(text) > maxLogText {
		text = text[:maxLogText]
	}
	return LogEntry{
		Time: l.Time, Service: l.Service, Level: l.Level, Text: text, Dropped: l.Dropped,
		Severity: levelSeverity(l.Level),
	}
}

// LogFollow says whether the newest line is always in view.
func (m *Model) LogFollow() bool { return m.logFollow }

// LogCount returns how many lines are kept.
func (m *Model) LogCount() int { return m.logs.len() }

// LogWindow returns up to n matching lines, oldest first, that end at the newest line when following and else are placed so that
// the selected line is among them; cursor is its index in the result, -1 when following or when nothing matches.
func (m *Model) LogWindow(n int) (lines []LogEntry, cursor int) {
	f := m.newFilter(Logs)
	if n <= 0 || m.logs.len() == 0 {
		return nil, -1
	}
	if m.logFollow {
		return m.logsBefore(m.logs.next, n, f), -1
	}
	above := m.logsBefore(m.logCursor+1, max(n*2/3, 1), f)
	below := m.logsAfter(m.logCursor, n-len(above), f)
	if missing := n - len(above) - len(below); missing > 0 {
		above = m.logsBefore(m.logCursor+1, len(above)+missing, f)
	}
	return append(above, below...), len(above) - 1
}

// LogTail returns the newest n lines of a service, or of all when service is empty, whatever the filter of the Logs pane says.
func (m *Model) LogTail(n int, service string) []LogEntry {
	if n <= 0 {
		return nil
	}
	return m.logsBefore(m.logs.next, n, filter{service: service})
}

// LogsWith returns the newest n lines that contain text, of every service, oldest first: with a request id, the way of one request
// through all processes.
func (m *Model) LogsWith(text string, n int) []LogEntry {
	if n <= 0 || text == "" {
		return nil
	}
	return m.logsBefore(m.logs.next, n, filter{text: strings.ToLower(text)})
}

// logsBefore collects up to n matching lines with a sequence number below end, oldest first.
func (m *Model) logsBefore(end uint64, n int, f filter) []LogEntry {
	var out []LogEntry
	for seq := end; seq > m.logs.first() && len(out) < n; {
		seq--
		if e := m.logs.at(seq); e != nil && f.log(e) {
			out = append(out, *e)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// logsAfter collects up to n matching lines with a sequence number above seq.
func (m *Model) logsAfter(seq uint64, n int, f filter) []LogEntry {
	var out []LogEntry
	for seq++; seq < m.logs.next && len(out) < n; seq++ {
		if e := m.logs.at(seq); e != nil && f.log(e) {
			out = append(out, *e)
		}
	}
	return out
}

// moveLog moves the selected line by delta matching lines. Moving up ends following; moving past the end resumes it.
func (m *Model) moveLog(delta int) {
	if m.logs.len() == 0 {
		return
	}
	f := m.newFilter(Logs)
	if m.logFollow {
		if delta >= 0 {
			return
		}
		m.logFollow = false
		m.logCursor = m.logs.next
	}
	for ; delta < 0; delta++ {
		seq, ok := m.nearLog(m.logCursor, f, false)
		if !ok {
			break
		}
		m.logCursor = seq
	}
	for ; delta > 0; delta-- {
		seq, ok := m.nearLog(m.logCursor, f, true)
		if !ok {
			m.logFollow = true
			return
		}
		m.logCursor = seq
	}
	if m.logs.at(m.logCursor) == nil {
		m.logFollow = true
	}
}

// nearLog finds the next matching line after or before seq.
func (m *Model) nearLog(seq uint64, f filter, forward bool) (uint64, bool) {
	for {
		if forward {
			seq++
		} else {
			seq--
		}
		e := m.logs.at(seq)
		if e == nil {
			return 0, false
		}
		if f.log(e) {
			return seq, true
		}
	}
}

// SelectedLog returns the line under the cursor, or the newest when following.
func (m *Model) SelectedLog() *LogEntry {
	if m.logFollow {
		if tail := m.logsBefore(m.logs.next, 1, m.newFilter(Logs)); len(tail) == 1 {
			return &tail[0]
		}
		return nil
	}
	return m.logs.at(m.logCursor)
}
