package hooks

import (
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// message is what a hook is given, as JSON: the event and who is told, why and by which machine.
type message struct {
	Hook string `json:"hook"`
	Word string `json:"event"` // the word of "on" that matched
	Host string `json:"host"`
	api.Event
}

// maxReason bounds the text in a message, in bytes.
const maxReason = 16 << 10

func newMessage(h plan.Hook, e api.Event) message {
	m := message{Hook: h.Name, Event: e}
	m.Host, _ = os.Hostname()
	for _, w := range Words(e) {
		if m.Word == "" && slices.Contains(h.On, w) {
			m.Word = w
		}
	}
	if len(m.Reason) > maxReason {
		m.Reason = strings.ToValidUTF8(m.Reason[:maxReason], "") + "…"
	}
	return m
}

// subject says in a word or two what it is about.
func (m message) subject() string {
	if m.Service == "" {
		return m.Word
	}
	return m.Service + " " + m.Word
}

func (m message) json() []byte {
	text, err := json.Marshal(m)
	if err != nil { // nothing in it can fail
		panic(err)
	}
	return append(text, '\n')
}

// inherited are the supervisor's variables that a hook gets.
var inherited = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// environment of a hook: no secret of the supervisor's is among it.
func (m message) environment(d Deps) []string {
	env := []string{
		"SENTINEL_RUNTIME_DIR=" + d.Runtime, "SENTINEL_HOOK=" + m.Hook, "SENTINEL_EVENT=" + m.Word, "SENTINEL_SERVICE=" + m.Service,
	}
	for _, kv := range d.Environ {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(inherited, name) {
			env = append(env, kv)
		}
	}
	return env
}
