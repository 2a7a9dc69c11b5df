package view

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/sentinel-stack/sentinel/tui/model"
)

var update = flag.Bool("update", false, "write the golden frames")

var sizes = [][2]int{{40, 10}, {80, 24}, {120, 40}, {200, 60}}

// TestFrames compares whole screens with the golden ones, at each size and in each look.
func TestFrames(t *testing.T) {
	t.Parallel()
	colour, none, ascii := NewTheme(true, false), NewTheme(false, false), NewTheme(false, true)
	empty := func() *model.Model { return model.New(model.Options{Refresh: time.Second}, start) }
	keyed := func(build func() *model.Model, keys ...string) func() *model.Model {
		return func() *model.Model {
			m := build()
			press(m, keys...)
			return m
		}
	}
	for _, size := range sizes {
		for _, c := range []struct {
			name  string
			build func() *model.Model
			theme *Theme
		}{
			{"normal", filled, colour}, {"nocolour", filled, none}, {"ascii", filled, ascii}, {"empty", empty, none}, {"disconnected", disconnected, none},
			{"upstreams", keyed(filled, "2"), none}, {"agents", keyed(filled, "3"), none}, {"services", keyed(filled, "4", "j", "j"), none},
			{"logs", keyed(filled, "5"), none}, {"logs-selected", keyed(filled, "5", "k", "k", "k"), none}, {"events", keyed(filled, "6"), none},
			{"help", keyed(filled, "?"), none}, {"help-ascii", keyed(filled, "?"), ascii}, {"detail", keyed(filled, "4", "j", "j", "enter"), none}, {"detail-route", keyed(filled, "enter"), none}, {"detail-agent", keyed(pooled, "3", "j", "j", "enter"), none}, {"detail-log", keyed(filled, "5", "enter"), none},
			{"confirm", keyed(filled, "4", "j", "r"), none}, {"filter", keyed(filled, "/", "a", "p"), none}, {"faults", keyed(filled, "4", "z", "p"), none},
		} {
			t.Run(fmt.Sprintf("%dx%d/%s", size[0], size[1], c.name), func(t *testing.T) {
				t.Parallel()
				m := c.build()
				m.Update(model.Resize{Width: size[0], Height: size[1]})
				got := Render(m, c.theme)
				checkBounds(t, got, size[0], size[1])
				golden(t, fmt.Sprintf("%dx%d-%s.txt", size[0], size[1], c.name), got)
				if c.theme.ascii && !isPlain(strings.ReplaceAll(got, "\n", "")) {
					t.Error("an ASCII frame holds other characters")
				}
				if !c.theme.color && strings.Contains(got, "\x1b") {
					t.Error("a frame without colour holds an escape sequence")
				}
			})
		}
	}
}

// TestColourAddsNothing shows that colour never carries meaning alone: without its sequences a frame is the plain one.
func TestColourAddsNothing(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		m := filled()
		m.Update(model.Resize{Width: size[0], Height: size[1]})
		coloured := Render(m, NewTheme(true, false))
		if !strings.Contains(coloured, "\x1b[") {
			t.Errorf("%v: no colour in a coloured frame", size)
		}
		if got, want := ansi.Strip(coloured), Render(m, NewTheme(false, false)); got != want {
			t.Errorf("%v: stripped frame differs:\n%s\n---\n%s", size, got, want)
		}
	}
}

// TestStateWords demands a word beside each sign, and a sign of its own for each state that must not be mistaken for another.
func TestStateWords(t *testing.T) {
	t.Parallel()
	for _, ascii := range []bool{false, true} {
		th := NewTheme(false, ascii)
		seen := map[string]string{}
		for _, word := range []string{"ready", "starting", "stopped", "failed", "backoff", "quarantined"} {
			text := th.state(word)
			if !strings.HasSuffix(text, " "+word) {
				t.Errorf("%q has no word", text)
			}
			if other := seen[th.glyph(word)]; other != "" {
				t.Errorf("%s and %s share the sign %s", word, other, th.glyph(word))
			}
			seen[th.glyph(word)] = word
		}
	}
}

// TestHostileText puts escape sequences, direction marks and wide characters where the outside can: nothing of it may act.
func TestHostileText(t *testing.T) {
	t.Parallel()
	hostile := "\x1b]0;owned\x07\x1b[2J\r\n\u202e\u200b\u0085\xff日本語👩‍👩‍👧‍👦é"
	s := reading(1)
	s.Stack.Services[0].Name, s.Stack.Services[0].Reason = hostile, hostile
	s.Routes[0].ID, s.Routes[0].Match = hostile, hostile
	s.Agents[0].LastError, s.Upstreams[0].Targets[0].LastError = hostile, hostile
	s.ProxyErr = hostile
	m := model.New(model.Options{}, start)
	m.Update(s)
	m.Update(model.LogLines{{Text: hostile, Service: hostile, Level: hostile}})
	for _, size := range sizes {
		m.Update(model.Resize{Width: size[0], Height: size[1]})
		for _, keys := range [][]string{{"1"}, {"2"}, {"3"}, {"4"}, {"5"}, {"6"}, {"4", "enter"}, {"5", "enter"}} {
			press(m, keys...)
			for _, ascii := range []bool{false, true} {
				got := Render(m, NewTheme(false, ascii))
				checkBounds(t, got, size[0], size[1])
				if strings.ContainsAny(got, "\x1b\x07\r\u202e\u200b\u0085\u200d") {
					t.Errorf("%v %v: hostile character on the screen: %q", size, keys, got)
				}
			}
			press(m, "esc")
		}
	}
	if text := Plain(m, NewTheme(false, false)); strings.ContainsAny(text, "\x1b\x07\r\u202e") {
		t.Errorf("hostile character in the table: %q", text)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	golden(t, "plain.txt", Plain(filled(), NewTheme(false, false)))
	golden(t, "plain-ascii.txt", Plain(filled(), NewTheme(false, true)))
	golden(t, "plain-disconnected.txt", Plain(disconnected(), NewTheme(false, false)))
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	th := NewTheme(false, false)
	for _, c := range []struct{ got, want string }{
		{th.rate(0), "0"}, {th.rate(0.25), "0.2"}, {th.rate(9.96), "10.0"}, {th.rate(1234), "1234"}, {th.rate(12345), "12k"}, {th.rate(1e15), "1000T"},
		{th.percent(0), "0%"}, {th.percent(0.0004), "<.1%"}, {th.percent(0.013), "1.3%"}, {th.percent(1), "100%"},
		{th.latency(model.Quantile{Secs: 0.0123}), "12ms"}, {th.latency(model.Quantile{Secs: 10, Over: true}), ">10s"},
		{th.bytes(0), "–"}, {th.bytes(5 << 20), "5.0M"}, {th.bytes(3 << 30), "3.0G"},
		{age(75 * time.Second), "1m15s"}, {age(50 * time.Hour), "2d02h"}, {age(-time.Second), "0s"},
		{th.spark([]float64{0, 1, 2, 4}, 6), "  ▁▃▅█"},
		{th.fit("日本語", 4, false), "日… "}, {th.fit("ab", 4, true), "  ab"}, {tail("abcdef", 3), "def"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// FuzzUpdate sends any messages and demands that every frame keeps within the terminal.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte("123456jkgG/ap\n?zplrysq"), uint16(80), uint16(24), "text")
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 200, 201, 202, 203}, uint16(1), uint16(1), "\x1b[31m")
	f.Add([]byte("4jjr\x1by5kkk\x81\x82\x83"), uint16(59), uint16(11), "日本")
	colour, ascii := NewTheme(true, false), NewTheme(false, true)
	f.Fuzz(func(t *testing.T, script []byte, width, height uint16, text string) {
		m := filled()
		m.Update(model.Resize{Width: int(width % 300), Height: int(height % 100)})
		for i, b := range script[:min(len(script), 64)] {
			m.Update(randomMessage(i, b, text))
			w, h := m.Size()
			checkBounds(t, Render(m, colour), w, h)
			checkBounds(t, Render(m, ascii), w, h)
		}
	})
}

// randomMessage turns one byte of a script into a message.
func randomMessage(i int, b byte, text string) any {
	switch b {
	case 0x80:
		return reading(int(b) % 10)
	case 0x81:
		return model.Snapshot{At: start.Add(time.Duration(i) * time.Minute), Err: text}
	case 0x82:
		s := reading(i)
		s.Proxy, s.ProxyErr = nil, text
		return s
	case 0x83:
		return model.LogLines{{Text: text, Service: text, Level: text, Dropped: uint64(i)}}
	case 0x84:
		return model.EventList{{Kind: "state", Service: text, From: text, To: text, Reason: text}}
	case 0x85:
		return model.Done{Effect: model.Effect{Verb: model.Verb(i), Service: text}, Err: text}
	case 0x86:
		return model.Resize{Width: i * 7 % 250, Height: i * 3 % 70}
	case 0x87:
		return model.Tick(start.Add(time.Duration(i) * time.Hour))
	case 0x88:
		s := reading(i)
		s.Routes[0].ID, s.Stack.Services[0].State, s.Upstreams, s.Agents[0].Circuit = text, text, nil, text
		s.Routes[1].Bounds, s.Routes[1].Counts = nil, []uint64{1}
		return s
	case 0x89:
		s := reading(i)
		s.Stack = nil
		return s
	case '\n':
		return model.Key("enter")
	case 0x1b:
		return model.Key("esc")
	case '\t':
		return model.Key("tab")
	case 0x04:
		return model.Key("ctrl+d")
	case 0x7f:
		return model.Key("backspace")
	default:
		return model.Key(string(rune(b)))
	}
}

// BenchmarkFrame draws the services pane with 200 services at the largest size.
func BenchmarkFrame(b *testing.B) {
	for _, pane := range []string{"1", "4", "5"} {
		b.Run("pane"+pane, func(b *testing.B) {
			m := crowd(200)
			m.Update(model.Resize{Width: 200, Height: 60})
			press(m, pane)
			th := NewTheme(true, false)
			b.ReportAllocs()
			for b.Loop() {
				Render(m, th)
			}
		})
	}
}

const frameAllocations = 6000 // 60 lines of 200 columns; the race detector adds some

// TestFrameAllocations holds the common frames of a large stack to a budget: what a frame costs is mostly what it allocates, and that does not depend on how busy
// the machine is. BenchmarkFrame has the times.
func TestFrameAllocations(t *testing.T) {
	m := crowd(200)
	m.Update(model.Resize{Width: 200, Height: 60})
	th := NewTheme(true, false)
	for _, keys := range [][]string{{"1"}, {"4", "G"}, {"5"}, {"5", "/", "n", "o", "t", "h", "e", "r", "e"}} {
		press(m, keys...)
		if n := testing.AllocsPerRun(5, func() { Render(m, th) }); n > frameAllocations {
			t.Errorf("%v: a frame allocates %.0f times, more than %d", keys, n, frameAllocations)
		}
	}
}

func checkBounds(t *testing.T, frame string, width, height int) {
	t.Helper()
	if frame == "" {
		return
	}
	lines := strings.Split(frame, "\n")
	if len(lines) > height {
		t.Errorf("%d lines on a terminal of %d", len(lines), height)
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w > width {
			t.Errorf("line %d is %d wide on a terminal of %d: %q", i, w, width, l)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update and read the diff):\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}
