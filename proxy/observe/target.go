package observe

import "sync/atomic"

// Failure says how an attempt on a target failed.
type Failure uint8

// The kinds of failure. FailureNone is success; FailureCanceled means the client went away and is nobody's failure.
const (
	FailureNone Failure = iota
	FailureCanceled
	FailureResolve        // the name has no address
	FailureConnect        // refused, unreachable
	FailureConnectTimeout // no connection in time
	FailurePoolFull       // no connection of the pool became free in time, or too many wait
	FailureWrite          // the connection broke while sending
	FailureRead           // the connection broke before the answer was complete
	FailureTimeout        // connected, but no answer in time
	FailureProtocol       // the answer broke HTTP
	FailureStatus         // a complete answer with status 5xx
	FailureTLS            // the handshake failed, or the certificate was not good
	failureCount
)

var failureNames = [failureCount]string{
	"none", "canceled", "resolve", "connect", "connect-timeout", "pool-full", "write", "read", "timeout", "protocol", "status-5xx", "tls",
}

// String is the metric label.
func (f Failure) String() string { return failureNames[f] }

// Health is what active checks say about a target.
type Health int32

// Health states. Unknown targets are used: nothing has been said against them.
const (
	HealthUnknown Health = iota
	HealthHealthy
	HealthUnhealthy
)

// String is the word of the admin API.
func (h Health) String() string {
	switch h {
	case HealthHealthy:
		return "healthy"
	case HealthUnhealthy:
		return "unhealthy"
	}
	return "unknown"
}

// Outlier says why live traffic took a target out.
type Outlier uint8

// The reasons.
const (
	OutlierErrors  Outlier = iota // failures in a row
	OutlierRate                   // success rate below the others'
	OutlierLatency                // slower than the others
	outlierCount
)

var outlierNames = [outlierCount]string{"consecutive-errors", "success-rate", "latency"}

// String is the metric label.
func (o Outlier) String() string { return outlierNames[o] }

// TargetMetrics counts the work of one target of one upstream.
type TargetMetrics struct {
	handle
	Upstream string
	Address  string

	// Written twice per exchange; alone on their cache line.
	_        [64]byte
	Active   atomic.Int64 // exchanges now; least-connections reads it
	Requests atomic.Uint64
	_        [48]byte

	Idle       atomic.Int64 // pooled connections now
	Open       atomic.Int64 // connections now, idle and busy
	Waiting    atomic.Int64 // requests that wait for a connection
	Failures   [failureCount]atomic.Uint64
	Connects   Histogram        // successful dials and how long they took
	Reused     atomic.Uint64    // exchanges on a pooled connection
	Stale      atomic.Uint64    // pooled connections found closed by the peer
	Shakes     [2]atomic.Uint64 // TLS handshakes: full, resumed
	Health     atomic.Int32     // a Health
	Ejections  atomic.Uint64
	Restores   atomic.Uint64
	CheckFails atomic.Uint64

	Sessions    atomic.Int64  // connections with HTTP/2 now
	Unprocessed atomic.Uint64 // requests the target did not look at
	Violations  atomic.Uint64 // connections that ended because the target broke HTTP/2

	Ejected      atomic.Int32                // 1 while it is out as an outlier
	Outliers     [outlierCount]atomic.Uint64 // ejections as an outlier, by reason
	OutliersKept atomic.Uint64               // outliers that were kept because too many were out
	Circuit      atomic.Int32                // a Circuit; CircuitNone when none is configured
	CircuitOpens atomic.Uint64
}

// FailureTotal is the number of failed attempts; a client that went away is not one.
func (t *TargetMetrics) FailureTotal() uint64 {
	var n uint64
	for k := FailureResolve; k < failureCount; k++ {
		n += t.Failures[k].Load()
	}
	return n
}
