package view

import (
	"fmt"
	"strings"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

// fact is one line of an opened row.
type fact struct {
	name  string
	text  string
	style style
}

// detail draws everything that is known of the selected row.
func (s *screen) detail(rows int) []string {
	heading, facts := s.facts()
	out := []string{s.t.paint(title, s.t.fit(" "+s.t.clean(heading), s.width, false))}
	const nameWidth = 16
	for _, f := range facts {
		if f.text == "" {
			continue
		}
		for i, line := range wrap(s.t.clean(f.text), max(s.width-nameWidth-2, 8)) {
			name := f.name
			if i > 0 {
				name = ""
			}
			out = append(out, " "+s.t.paint(dim, s.t.fit(name, nameWidth, false))+" "+s.t.paint(f.style, line))
		}
	}
	if e := s.m.SelectedLog(); s.m.Pane() == model.Logs && e != nil {
		if id := requestID(e.Text); id != "" {
			out = append(out, "", s.t.paint(dim, " every line of this request"))
			lines := s.m.LogsWith(id, max(rows-len(out), 3))
			for i := range lines {
				out = append(out, s.logLine(&lines[i], false))
			}
		}
	}
	if service := s.openService(); service != "" {
		out = append(out, "", s.t.paint(dim, " newest log lines"))
		lines := s.m.LogTail(max(rows-len(out), 3), service)
		for i := range lines {
			out = append(out, s.logLine(&lines[i], false))
		}
	}
	return out
}

// openService is the service whose log belongs under the opened row.
func (s *screen) openService() string {
	switch i := s.m.Cursor(); {
	case s.m.Pane() == model.Services && i < len(s.m.ServiceRows()):
		return s.m.ServiceRows()[i].Name
	case s.m.Pane() == model.Agents && i < len(s.m.AgentRows()):
		return s.m.AgentRows()[i].Service
	default:
		return ""
	}
}

func (s *screen) facts() (heading string, facts []fact) {
	i := s.m.Cursor()
	switch s.m.Pane() {
	case model.Routes:
		if all := s.m.RouteRows(); i < len(all) {
			return "route " + all[i].ID, s.routeFacts(all[i])
		}
	case model.Upstreams:
		if all := s.m.TargetRows(); i < len(all) {
			return "target " + all[i].Address, s.targetFacts(all[i])
		}
	case model.Agents:
		if all := s.m.AgentRows(); i < len(all) {
			return "agent " + all[i].Name, s.agentFacts(all[i])
		}
	case model.Services:
		if all := s.m.ServiceRows(); i < len(all) {
			return "service " + all[i].Name, s.serviceFacts(all[i])
		}
	case model.Events:
		if all := s.m.EventRows(); i < len(all) {
			e := all[i]
			return "event", []fact{{"time", e.Time.Format("2006-01-02 15:04:05.000"), plain}, {"service", e.Service, plain},
				{"kind", e.Kind, plain}, {"what", s.eventText(e), severityStyle(model.EventSeverity(e))}}
		}
	case model.Logs:
		if e := s.m.SelectedLog(); e != nil {
			return "log line", logFacts(e)
		}
	}
	return "gone", []fact{{"", "the row is no longer there; Esc goes back", dim}}
}

// logFacts shows a line that is one JSON object member by member.
func logFacts(e *model.LogEntry) []fact {
	out := []fact{{"time", e.Time.Format("2006-01-02 15:04:05.000"), plain}, {"service", e.Service, plain},
		{"level", e.Level, severityStyle(e.Severity)}}
	fields, ok := lineFields(e.Text)
	if !ok {
		return append(out, fact{"text", e.Text, plain})
	}
	for _, f := range fields {
		out = append(out, fact{f.name, f.value, plain})
	}
	return out
}

func (s *screen) routeFacts(r *model.RouteRow) []fact {
	st := severityStyle(r.Severity)
	return []fact{
		{"state", s.t.state(routeWord(r)), st},
		{"match", r.Match, plain}, {"target", r.Target, plain}, {"fallback", r.Fallback, plain},
		{"filters", strings.Join(r.Filters, " "+s.t.pick("→", "->")+" "), plain},
		{"priority", fmt.Sprint(r.Priority), plain},
		{"rate", s.t.rate(r.Rate) + " req/s, errors " + s.t.percent(r.ErrShare), st},
		{"latency", "p50 " + s.t.latency(r.P50) + ", p99 " + s.t.latency(r.P99), plain},
		{"trend", s.t.spark(r.Spark, min(model.SparkPoints, max(s.width-18, 8))), accent},
		{"requests", fmt.Sprintf("%d: 1xx %d, 2xx %d, 3xx %d, 4xx %d, 5xx %d, unanswered %d",
			r.Requests, r.Status[1], r.Status[2], r.Status[3], r.Status[4], r.Status[5], r.Status[0]), plain},
		{"blocked", fmt.Sprint(r.Blocked), plain}, {"retries", fmt.Sprint(r.Retries), plain},
		{"in flight", fmt.Sprint(r.InFlight), plain},
	}
}

func (s *screen) targetFacts(t *model.TargetRow) []fact {
	return []fact{
		{"upstream", t.Upstream + ", " + t.LoadBalancing, plain}, {"panic", panics(t), bad},
		{"health", s.t.state(t.Status) + s.ejection(t), severityStyle(targetStatus(t))},
		{"circuit", s.circuit(t), circuitStyle(t.Circuit)}, {"zone", t.Zone, plain},
		{"last check", s.t.since(s.m.Now(), t.LastCheck), plain}, {"last error", t.LastError, bad},
		{"weight", fmt.Sprint(t.Weight), plain},
		{"rate", s.t.rate(t.Rate) + " req/s", accent},
		{"requests", fmt.Sprintf("%d, failures %d, recent failures %s", t.Requests, t.Failures, s.t.percent(t.FailureRate)), plain},
		{"connections", fmt.Sprintf("%d active, %d idle", t.Active, t.Idle) + waiting(t), plain},
	}
}

// targetStatus is how grave the health of a target is, whatever its circuit.
func targetStatus(t *model.TargetRow) model.Severity {
	if t.Status == "healthy" {
		return model.OK
	}
	return t.Severity
}

// ejection says how often a target was out, and until when it is.
func (s *screen) ejection(t *model.TargetRow) string {
	text := ""
	if !t.EjectedUntil.IsZero() {
		text = " until " + t.EjectedUntil.Format("15:04:05")
	}
	if t.Ejections > 0 {
		text += fmt.Sprintf(", ejected %d times", t.Ejections)
	}
	return text
}

// circuit is empty when a target has none.
func (s *screen) circuit(t *model.TargetRow) string {
	if t.Circuit == "" {
		return ""
	}
	return s.t.state(t.Circuit) + fmt.Sprintf(", opened %d times", t.CircuitOpens)
}

func panics(t *model.TargetRow) string {
	if !t.Panic {
		return ""
	}
	return "too few targets are healthy: all get requests"
}

func waiting(t *model.TargetRow) string {
	if t.Waiting == 0 {
		return ""
	}
	return fmt.Sprintf(", %d waiting for one", t.Waiting)
}

func (s *screen) agentFacts(a *model.AgentRow) []fact {
	by := "someone else"
	switch {
	case a.Service != "":
		by = "the stack (service " + a.Service + ")"
	case a.Processes > 0:
		by = fmt.Sprintf("the stack (%d services, from %s/1)", a.Processes, a.Name)
	}
	facts := []fact{
		{"circuit", s.t.state(a.Circuit) + fmt.Sprintf(", opened %d times", a.Opens), circuitStyle(a.Circuit)},
		{"health", s.t.state(a.Health), severityStyle(a.Severity)},
		{"connected", fmt.Sprint(a.Connected), plain}, {"last error", a.LastError, bad},
		{"type", a.Type, plain}, {"version", a.Version, plain}, {"encoding", a.Encoding, plain},
		{"address", a.Address, plain}, {"run by", by, plain},
		{"calls", fmt.Sprintf("%d (%s/s), errors %d, timeouts %d, blocked %d", a.Calls, s.t.rate(a.Rate), a.Errors, a.Timeouts, a.Blocks), plain},
		{"latency", "p50 " + s.t.micros(a.P50Micros) + ", p99 " + s.t.micros(a.P99Micros), plain},
		{"now", fmt.Sprintf("%d in flight, %d queued", a.InFlight, a.Queued), plain},
	}
	for _, in := range a.Instances {
		facts = append(facts, s.instanceFact(&in))
	}
	return facts
}

// instanceFact is one instance in a line: what is wrong with it, else what it does.
func (s *screen) instanceFact(in *proxyapi.AgentInstance) fact {
	text, st := fmt.Sprintf("%s, %d calls, %d in flight, p99 %s", s.t.state(in.Health), in.Calls, in.InFlight, s.t.micros(in.P99Micros)), plain
	switch {
	case !in.Connected:
		text, st = "not connected: "+in.LastError, bad
	case in.Circuit != "closed":
		text, st = "circuit "+s.t.state(in.Circuit)+", "+text, circuitStyle(in.Circuit)
	}
	return fact{"instance " + in.Instance, text, st}
}

// number prints a positive number; what is not known is left out.
func number(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (s *screen) serviceFacts(v *model.ServiceRow) []fact {
	started := ""
	if !v.Started.IsZero() {
		started = s.t.since(s.m.Now(), v.Started) + " ago"
	}
	return []fact{
		{"state", s.t.state(v.State) + " for " + s.t.since(s.m.Now(), v.Since), severityStyle(v.Severity)},
		{"reason", s.reason(v), severityStyle(v.Severity)},
		{"kind", v.Kind, plain}, {"pid", number(v.PID), plain}, {"started", started, plain},
		{"restarts", fmt.Sprintf("%d, exit to exec p50 %s, exec to ready p50 %s",
			v.Restarts, s.t.micros(v.RestartP50Micros), s.t.micros(v.ReadyP50Micros)), plain},
		{"last exit", v.LastExit, plain},
		{"use", fmt.Sprintf("cpu %.1f%%, memory %s, %d processes", v.CPUPercent, s.t.bytes(v.RSSBytes), v.PIDs), plain},
		{"killed by", v.Kill, plain}, {"log lines lost", fmt.Sprint(v.LogDropped), counterStyle(v.LogDropped)},
	}
}
