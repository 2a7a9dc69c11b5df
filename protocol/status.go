package protocol

// Health is an agent's own opinion of itself.
type Health uint8

// Health states. A degraded or unhealthy agent gets no new work; a draining one gets none on the connection that said so.
const (
	HealthUnknown Health = iota
	Healthy
	Degraded
	Draining
	Unhealthy
)

// String returns the state as one word.
func (h Health) String() string {
	if h > Unhealthy {
		return "unknown"
	}
	return [...]string{"unknown", "healthy", "degraded", "draining", "unhealthy"}[h]
}

// HealthStatus is sent by an agent when its state changes.
type HealthStatus struct {
	AgentID    string
	State      Health
	Message    string
	TimeMillis int64
}

// FlowAction is what an agent asks about the flow of events on one connection.
type FlowAction uint8

// Flow actions.
const (
	FlowPause  FlowAction = 1
	FlowResume FlowAction = 2
)

// FlowControl stops and starts the flow of new events on the connection it is sent on.
type FlowControl struct {
	Action     FlowAction
	TimeMillis int64
}

// MetricsReport carries an agent's own metrics. Counters and histograms are totals since the agent started.
type MetricsReport struct {
	AgentID        string
	TimeMillis     int64
	IntervalMillis int64
	Counters       []Sample
	Gauges         []Sample
	Histograms     []Histogram
}

// Sample is one value of one series.
type Sample struct {
	Name, Help string
	Labels     []Header // names are unique
	Value      float64
}

// Histogram is one series of observations.
type Histogram struct {
	Name    string
	Labels  []Header
	Sum     float64
	Count   uint64
	Buckets []Bucket // cumulative, in rising order
}

// Bucket counts the observations up to a bound; the last bound may be +Inf.
type Bucket struct {
	UpTo  float64
	Count uint64
}
