package cli

import (
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/systemd"
	"github.com/sentinel-stack/sentinel/tui"
)

// printer writes log lines for people: time, service, text. On a terminal that wants colour each service has its own.
type printer struct {
	mu      sync.Mutex
	w       io.Writer
	colour  bool
	journal bool // it goes to the journal, which has times of its own and takes levels
	width   int  // of the longest service name so far
}

func newPrinter(w io.Writer) *printer {
	file, _ := w.(*os.File)
	return &printer{w: w, journal: file != nil && systemd.ToJournal(file), colour: tui.IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", width: 8}
}

func (p *printer) line(l api.LogLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.width = min(max(p.width, len(l.Service)), 24)
	if p.journal {
		if l.Dropped > 0 {
			fmt.Fprintf(p.w, "%s%d lines lost here: the output is too slow\n", systemd.Level("warn"), l.Dropped)
		}
		fmt.Fprintf(p.w, "%s%s: %s\n", systemd.Level(l.Level), l.Service, harmless(l.Text))
		return
	}
	if l.Dropped > 0 {
		fmt.Fprintf(p.w, "(%d lines lost here: the output is too slow)\n", l.Dropped)
	}
	name := fmt.Sprintf("%-*s", p.width, l.Service)
	if p.colour {
		colours := []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}
		h := fnv.New32a()
		io.WriteString(h, l.Service)
		name = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[h.Sum32()%uint32(len(colours))], name)
	}
	fmt.Fprintf(p.w, "%s %s | %s\n", l.Time.Local().Format("15:04:05.000"), name, harmless(l.Text))
}

// harmless makes control characters visible: what a service logs may come from a client and must not steer a terminal.
func harmless(s string) string {
	if strings.IndexFunc(s, controls) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if controls(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func controls(r rune) bool {
	return unicode.IsControl(r) && r != '\t' || r == '\u2028' || r == '\u2029' || r >= '\u202A' && r <= '\u202E'
}
