package policy

import "sync/atomic"

// Kind is what a rule looks at; it labels metrics and ends reason codes.
type Kind uint8

// Kinds, in the order in which a set is evaluated; bans come before all.
const (
	IP Kind = iota
	Country
	Method
	Host
	Path
	UserAgent
	HeaderField
	Query
	Banned
	kinds
)

// String returns the kind as metrics name it.
func (k Kind) String() string {
	return [kinds]string{"ip", "country", "method", "host", "path", "user-agent", "header", "query", "ban"}[k]
}

// reason returns the reason code of the audit log.
func (k Kind) reason() string {
	return [kinds]string{"DENY_IP", "DENY_COUNTRY", "DENY_METHOD", "DENY_HOST", "DENY_PATH", "DENY_USER_AGENT", "DENY_HEADER", "DENY_QUERY", "DENY_BAN"}[k]
}

// Counters count what policies do. They outlive a policy, so a reload does not set them back.
type Counters struct {
	Lookups      atomic.Uint64        // requests judged
	Exempted     atomic.Uint64        // requests that an allow rule took out of one set at least
	Undecided    atomic.Uint64        // requests whose client address cannot be read
	Blocked      [kinds]atomic.Uint64 // by kind of the rule
	Logged       [kinds]atomic.Uint64 // by kind of the rule, in sets that only log
	Reloads      atomic.Uint64        // lists taken from a changed file
	ReloadErrors atomic.Uint64        // looks and readings that failed; the last good list stays
}

// Kinds calls f with every kind.
func Kinds(f func(Kind)) {
	for k := range kinds {
		f(k)
	}
}
