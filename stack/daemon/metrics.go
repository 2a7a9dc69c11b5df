package daemon

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// getMetrics writes the stack's own metrics and those of the proxy with a service label, as Prometheus text.
func (d *Daemon) getMetrics(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	d.writeMetrics(&b)
	if p := d.Plan(); p != nil {
		up := 1
		text, err := d.proxyMetrics(r.Context(), p.AdminSocket)
		if err != nil {
			up = 0
		}
		family(&b, "sentinel_stack_scrape_up", "gauge", "Whether a service's own metrics could be read.")
		sample(&b, "sentinel_stack_scrape_up", float64(up), "service", plan.ProxyName)
		relabel(&b, text, plan.ProxyName)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
}

func (d *Daemon) writeMetrics(b *bytes.Buffer) {
	st := d.Status()
	family(b, "sentinel_stack_info", "gauge", "Version of the supervisor.")
	sample(b, "sentinel_stack_info", 1, "version", st.Version)
	family(b, "sentinel_stack_start_time_seconds", "gauge", "When the supervisor was started.")
	sample(b, "sentinel_stack_start_time_seconds", float64(st.Started.UnixMilli())/1000)
	family(b, "sentinel_stack_generation", "gauge", "Number of the applied configuration.")
	sample(b, "sentinel_stack_generation", float64(st.Generation))
	family(b, "sentinel_stack_last_reload_success", "gauge", "Whether the last reload was applied.")
	ok := 1.0
	if st.LastReload != nil && !st.LastReload.OK {
		ok = 0
	}
	sample(b, "sentinel_stack_last_reload_success", ok)
	if st.Upgrade != nil && st.Upgrade.OK {
		family(b, "sentinel_stack_upgrade_pause_seconds", "gauge", "How long nobody supervised during the last upgrade.")
		sample(b, "sentinel_stack_upgrade_pause_seconds", float64(st.Upgrade.PauseMillis)/1000)
	}
	d.writeEvents(b)
	d.writeHooks(b)
	d.writeServices(b)
}

func (d *Daemon) writeEvents(b *bytes.Buffer) {
	tally := d.events.tally()
	keys := make([][3]string, 0, len(tally))
	for k := range tally {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
	family(b, "sentinel_stack_reloads_total", "counter", "Reloads by outcome.")
	for _, k := range keys {
		if k[0] == "reload" {
			sample(b, "sentinel_stack_reloads_total", float64(tally[k]), "outcome", k[2])
		}
	}
	family(b, "sentinel_stack_upgrades_total", "counter", "Replacements of the supervisor's program by outcome.")
	for _, k := range keys {
		if k[0] == "upgrade" {
			sample(b, "sentinel_stack_upgrades_total", float64(tally[k]), "outcome", k[2])
		}
	}
	family(b, "sentinel_stack_service_transitions_total", "counter", "Changes of state by the new state.")
	for _, k := range keys {
		if k[0] == "state" {
			sample(b, "sentinel_stack_service_transitions_total", float64(tally[k]), "service", k[1], "to", k[2])
		}
	}
}

// states in the order of the state machine.
var states = []supervise.State{
	supervise.Stopped, supervise.Starting, supervise.Ready, supervise.Degraded, supervise.Stopping, supervise.Backoff, supervise.Quarantined, supervise.Failed,
}

func (d *Daemon) writeServices(b *bytes.Buffer) {
	services := d.Services()
	family(b, "sentinel_stack_service_state", "gauge", "1 for the state a service is in.")
	for _, s := range services {
		for _, st := range states {
			v := 0.0
			if s.State == string(st) {
				v = 1
			}
			sample(b, "sentinel_stack_service_state", v, "service", s.Name, "state", string(st))
		}
	}
	each := func(name, kind, help string, value func(i int) float64) {
		family(b, name, kind, help)
		for i, s := range services {
			sample(b, name, value(i), "service", s.Name)
		}
	}
	each("sentinel_stack_service_restarts_total", "counter", "Restarts since the stack was started.", func(i int) float64 { return float64(services[i].Restarts) })
	each("sentinel_stack_service_adopted", "gauge", "Whether an earlier supervisor, which died, started the process.", func(i int) float64 {
		if services[i].Adopted {
			return 1
		}
		return 0
	})
	each("sentinel_stack_service_resident_bytes", "gauge", "Resident memory of all processes.", func(i int) float64 { return float64(services[i].RSSBytes) })
	each("sentinel_stack_service_cpu_percent", "gauge", "CPU use of all processes; 100 = one CPU.", func(i int) float64 { return services[i].CPUPercent })
	each("sentinel_stack_service_processes", "gauge", "Processes.", func(i int) float64 { return float64(services[i].PIDs) })
	each("sentinel_stack_service_restart_p50_seconds", "gauge", "Median time from exit to exec over recent restarts, waits not counted.", func(i int) float64 {
		return (time.Duration(services[i].RestartP50Micros) * time.Microsecond).Seconds()
	})
	each("sentinel_stack_service_restart_p99_seconds", "gauge", "The same for 99 of 100 restarts.", func(i int) float64 {
		return (time.Duration(services[i].RestartP99Micros) * time.Microsecond).Seconds()
	})
	each("sentinel_stack_service_ready_p50_seconds", "gauge", "Median time from exec to ready over recent starts.", func(i int) float64 {
		return (time.Duration(services[i].ReadyP50Micros) * time.Microsecond).Seconds()
	})
	each("sentinel_stack_log_lines_total", "counter", "Lines a service has written.", func(i int) float64 {
		lines, _ := d.logs.Totals(services[i].Name)
		return float64(lines)
	})
	each("sentinel_stack_log_dropped_total", "counter", "Lines its log file has lost.", func(i int) float64 { return float64(services[i].LogDropped) })
	writeLimits(b, services)
}

func family(b *bytes.Buffer, name, kind, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one line; labels are name and value in turn.
func sample(b *bytes.Buffer, name string, v float64, labels ...string) {
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		b.WriteString(labels[i] + `="` + escapeLabel(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteString(" " + strconv.FormatFloat(v, 'g', -1, 64) + "\n")
}

func escapeLabel(v string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(v)
}

// relabel copies Prometheus text and adds service="name" as the first label of every sample. A sample that has a service label already keeps it as
// exported_service, as Prometheus itself would do.
func relabel(b *bytes.Buffer, text []byte, service string) {
	label := `service="` + escapeLabel(service) + `"`
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			b.WriteString(line + "\n")
			continue
		}
		end := strings.IndexAny(line, "{ ")
		if end <= 0 {
			continue
		}
		if line[end] == ' ' {
			b.WriteString(line[:end] + "{" + label + "}" + line[end:] + "\n")
			continue
		}
		rest := line[end+1:]
		if own, ok := strings.CutPrefix(rest, "service="); ok {
			rest = "exported_service=" + own
		} else {
			rest = strings.Replace(rest, `",service="`, `",exported_service="`, 1)
		}
		if !strings.HasPrefix(rest, "}") {
			rest = "," + rest
		}
		b.WriteString(line[:end] + "{" + label + rest + "\n")
	}
}
