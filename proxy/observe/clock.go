package observe

import (
	"sync/atomic"
	"time"
)

// Stamp is one second of wall time in the forms that messages and logs need. It is immutable.
type Stamp struct {
	Unix     int64
	HTTPDate [29]byte // "Sat, 21 Nov 2026 09:49:13 GMT", RFC 9110 §5.6.7
	Second   [19]byte // "2026-11-21T09:49:13", UTC, without fraction and zone
	CLF      [26]byte // "21/Nov/2026:09:49:13 +0000"
}

// recentSeconds is how many seconds a Clock remembers: requests are logged by when they began, which can be a while ago.
const recentSeconds = 16

// Clock formats each second once or a few times, however often it is asked. It has no goroutine; the zero value is ready.
type Clock struct {
	recent [recentSeconds]atomic.Pointer[Stamp]
}

// Stamp returns the forms of the second that t falls in. It allocates only when the second is new.
func (c *Clock) Stamp(t time.Time) *Stamp {
	sec := t.Unix()
	slot := &c.recent[uint64(sec)%recentSeconds]
	if s := slot.Load(); s != nil && s.Unix == sec {
		return s
	}
	s := newStamp(sec)
	slot.Store(s)
	return s
}

func newStamp(sec int64) *Stamp {
	s := &Stamp{Unix: sec}
	t := time.Unix(sec, 0).UTC()
	if y := t.Year(); y < 0 || y > 9999 { // would not fit the fixed widths
		t = time.Unix(0, 0).UTC()
	}
	t.AppendFormat(s.HTTPDate[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	t.AppendFormat(s.Second[:0], "2006-01-02T15:04:05")
	t.AppendFormat(s.CLF[:0], "02/Jan/2006:15:04:05 +0000")
	return s
}

// AppendRFC3339 appends "2026-11-21T09:49:13.123Z".
func (c *Clock) AppendRFC3339(dst []byte, t time.Time) []byte {
	s := c.Stamp(t)
	ms := t.Nanosecond() / 1e6
	dst = append(dst, s.Second[:]...)
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}
