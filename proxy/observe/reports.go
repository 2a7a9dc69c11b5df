package observe

import (
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Report is what one agent says about itself. An agent is not trusted: what would spoil a scrape is left out.
type Report struct {
	Agent      string
	Instance   string // "" = the agent has one
	Counters   []Reported
	Gauges     []Reported
	Histograms []ReportedHistogram
}

// Reported is one value of one series.
type Reported struct {
	Name   string
	Labels []Pair
	Value  float64
}

// ReportedHistogram is one series of observations; Buckets maps upper bounds to cumulative counts.
type ReportedHistogram struct {
	Name    string
	Labels  []Pair
	Sum     float64
	Count   uint64
	Buckets map[float64]uint64
}

// maxReported bounds the series taken from one agent.
const maxReported = 1000

// SetReports installs the function that a scrape asks for the agents' own metrics, which are exported with the label agent, and instance where an agent has several; nil removes it.
func (m *Metrics) SetReports(f func() []Report) { m.reports.Store(&f) }

// reportCollector exports what agents say. Its names are not known beforehand, so it describes nothing ("unchecked" in Prometheus's words) and checks everything itself.
type reportCollector struct{ m *Metrics }

func (c reportCollector) Describe(chan<- *prometheus.Desc) {}

func (c reportCollector) Collect(out chan<- prometheus.Metric) {
	f := c.m.reports.Load()
	if f == nil || *f == nil {
		return
	}
	r := reportWriter{out: out, kinds: map[string]prometheus.ValueType{}, seen: map[string]bool{}}
	for _, report := range (*f)() {
		r.left = maxReported
		for _, v := range report.Counters {
			r.value(&report, v, prometheus.CounterValue)
		}
		for _, v := range report.Gauges {
			r.value(&report, v, prometheus.GaugeValue)
		}
		for _, h := range report.Histograms {
			if desc, labels, ok := r.series(&report, h.Name, h.Labels, 0); ok {
				if metric, err := prometheus.NewConstHistogram(desc, h.Count, h.Sum, h.Buckets, labels...); err == nil {
					r.out <- metric
				}
			}
		}
	}
}

// reportWriter keeps one scrape consistent: one kind for a name, no series twice.
type reportWriter struct {
	out   chan<- prometheus.Metric
	kinds map[string]prometheus.ValueType // 0 = histogram
	seen  map[string]bool
	left  int
}

func (r *reportWriter) value(from *Report, v Reported, kind prometheus.ValueType) {
	desc, labels, ok := r.series(from, v.Name, v.Labels, kind)
	if !ok {
		return
	}
	if metric, err := prometheus.NewConstMetric(desc, kind, v.Value, labels...); err == nil {
		r.out <- metric
	}
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,127}$`)
	ownName    = regexp.MustCompile(`^(sentinel|go|process|promhttp|scrape)_`) // nobody else may speak for these
)

// series checks a name and its labels and puts the label agent in front, and instance where there are several.
func (r *reportWriter) series(from *Report, name string, labels []Pair, kind prometheus.ValueType) (desc *prometheus.Desc, values []string, ok bool) {
	if r.left--; r.left < 0 || !metricName.MatchString(name) || ownName.MatchString(name) {
		return nil, nil, false
	}
	if k, known := r.kinds[name]; known && k != kind {
		return nil, nil, false
	}
	labels = slices.Clone(labels)
	slices.SortFunc(labels, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	names, values := []string{"agent"}, []string{from.Agent}
	if from.Instance != "" {
		names, values = append(names, "instance"), append(values, from.Instance)
	}
	for _, l := range labels {
		if !metricName.MatchString(l.Name) || strings.HasPrefix(l.Name, "__") || slices.Contains(names, l.Name) || l.Name == "le" {
			return nil, nil, false
		}
		names, values = append(names, l.Name), append(values, strings.ToValidUTF8(l.Value, "\uFFFD"))
	}
	key := name + "\x00" + strings.Join(names, "\x00") + "\x00" + strings.Join(values, "\x00")
	if r.seen[key] {
		return nil, nil, false
	}
	r.seen[key], r.kinds[name] = true, kind
	return prometheus.NewDesc(name, "Reported by agents about themselves.", names, nil), values, true
}
