// Package audit writes the log of what the rules found: one JSON object a line, secrets taken out, never in the way of a request.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// Record is one line.
type Record struct {
	Time     string `json:"time"`
	Request  string `json:"request_id"`
	Exchange string `json:"correlation_id"`
	Client   string `json:"client"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Target   string `json:"target"`
	Route    string `json:"route"`
	Stage    string `json:"stage"` // request or response
	Mode     string `json:"mode"`
	Action   string `json:"action"` // allow or block
	Status   int    `json:"status,omitempty"`
	Inbound  int    `json:"inbound_score"`
	Outbound int    `json:"outbound_score"`
	Version  string `json:"rules_version"`
	Rules    []Rule `json:"rules"`
}

// Rule is a rule that fired.
type Rule struct {
	ID       int      `json:"id"`
	Phase    int      `json:"phase"`
	Message  string   `json:"message"`
	Severity string   `json:"severity"`
	Tags     []string `json:"tags,omitempty"`
	Data     string   `json:"data,omitempty"` // what it says it found, in its own words
	Matched  []Found  `json:"matched,omitempty"`
}

// Found is where, and if asked for what, the rule found.
type Found struct {
	Variable string `json:"variable"`
	Key      string `json:"key,omitempty"`
	Value    string `json:"value,omitempty"`
}

const (
	queued   = 1024 // records that may wait for the disk
	maxValue = 256  // bytes of a matched value
	maxFound = 8    // places told per rule
	hidden   = "[redacted]"
)

// Redactor takes secrets out of records.
type Redactor struct {
	names map[string]bool
	pairs *regexp.Regexp
}

// NewRedactor returns one for parameters, cookies and fields with these names, in lower case.
func NewRedactor(names []string) *Redactor {
	r := &Redactor{names: map[string]bool{}}
	quoted := make([]string, 0, len(names))
	for _, n := range names {
		r.names[n] = true
		quoted = append(quoted, regexp.QuoteMeta(n))
	}
	r.pairs = regexp.MustCompile(`(?i)(` + strings.Join(quoted, "|") + `)("?\s*[=:]\s*"?)[^&;"\r\n]*`)
	return r
}

// Text returns s with the values of secret names taken out, wherever they stand as name=value or "name": "value".
func (r *Redactor) Text(s string) string { return r.pairs.ReplaceAllString(s, "${1}${2}"+hidden) }

// Value returns what may be told of a value found under key.
func (r *Redactor) Value(key, value string) string {
	key = strings.ToLower(key)
	if i := strings.LastIndexAny(key, ".["); i >= 0 && r.names[strings.Trim(key[i+1:], "]")] || r.names[key] {
		return hidden
	}
	value = r.Text(value)
	if len(value) > maxValue {
		value = strings.ToValidUTF8(value[:maxValue], "") + "…"
	}
	return value
}

// Apply takes the secrets out of a record. Without values, matched values are left out altogether.
func (r *Redactor) Apply(rec *Record, values bool) {
	rec.Target = r.Text(rec.Target)
	for i := range rec.Rules {
		rule := &rec.Rules[i]
		rule.Message = r.Text(rule.Message)
		rule.Data = r.Value("", rule.Data)
		for j := range rule.Matched {
			m := &rule.Matched[j]
			if m.Value = r.Value(m.Key, m.Value); m.Value == hidden { // it stands in the words as well
				rule.Data = hidden
			}
			if !values {
				m.Value = ""
			}
		}
		if !values {
			rule.Data = ""
		}
		rule.Matched = rule.Matched[:min(len(rule.Matched), maxFound)]
	}
}

// Log is the file. Write never waits: what the disk cannot take in time is dropped and counted.
type Log struct {
	Dropped, Failed atomic.Uint64
	lines           chan []byte
	done            chan struct{}

	mu   sync.Mutex // guards everything below
	path string
	file *os.File
}

// Open opens the file for appending; it is made readable by its owner only.
func Open(path string) (*Log, error) {
	l := &Log{path: path, lines: make(chan []byte, queued), done: make(chan struct{})}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

func (l *Log) run() {
	defer close(l.done)
	for line := range l.lines {
		l.mu.Lock()
		if _, err := l.file.Write(line); err != nil {
			l.Failed.Add(1)
		}
		l.mu.Unlock()
	}
}

// Path returns the name of the file.
func (l *Log) Path() string { return l.path }

// Write queues a record. It must not be called after Close.
func (l *Log) Write(rec *Record) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // attacks are full of what would be escaped
	if enc.Encode(rec) != nil {
		l.Failed.Add(1)
		return
	}
	select {
	case l.lines <- line.Bytes():
	default:
		l.Dropped.Add(1)
	}
}

// Reopen opens the file again, after it was moved away. When that fails the old one stays in use.
func (l *Log) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	l.file = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close writes what is queued and closes the file.
func (l *Log) Close() error {
	close(l.lines)
	<-l.done
	return errors.Join(l.file.Sync(), l.file.Close())
}
