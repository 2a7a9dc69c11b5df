package feeds

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		layout Layout
		text   string
		want   string // with blanks between; an error begins with "!"
	}{
		{Layout{Format: Plain}, "\ufeff# list\r\n192.0.2.1\r\n\n 10.0.0.0/8 ; SBL1\n;x\nMozilla/5.0 (X11; Linux) # why\n", "192.0.2.1 10.0.0.0/8 Mozilla/5.0 (X11; Linux)"},
		{Layout{Format: Plain}, strings.Repeat("x", 1<<21), "!line 1: "},
		{Layout{Format: CSV, Column: "2"}, "a,192.0.2.1\n#c\nb, 192.0.2.2 ,c\nd,\n", "192.0.2.1 192.0.2.2"},
		{Layout{Format: CSV, Column: "IP"}, "first,ip\n\"a, b\",192.0.2.1\n", "192.0.2.1"},
		{Layout{Format: CSV, Column: "1", Comma: ';'}, "192.0.2.1;x\n", "192.0.2.1"},
		{Layout{Format: CSV, Column: "3"}, "a,b,c\na,b\n", "!line 2: has 2 columns"},
		{Layout{Format: CSV, Column: "net"}, "ip\nx\n", "!line 1: no column is called"},
		{Layout{Format: CSV, Column: "net"}, "", "!there is no first row"},
		{Layout{Format: CSV, Column: "1"}, "\"a\n", "!"},
		{Layout{Format: JSON}, `["192.0.2.1", "192.0.2.2"]`, "192.0.2.1 192.0.2.2"},
		{Layout{Format: JSON, Field: "ip", Items: "data.list"}, `{"x": [1, {"list": 2}], "data": {"n": 2, "list": [{"ip": "192.0.2.1"}, {"about": "us"}], "more": 1}}`, "192.0.2.1"},
		{Layout{Format: JSON}, `["192.0.2.1"] x`, "!"},
		{Layout{Format: JSON}, `["192.0.2.1"`, "!the array does not end"},
		{Layout{Format: JSON}, `{"ip": "192.0.2.1"}`, "!there is no array"},
		{Layout{Format: JSON}, `[{"ip": "192.0.2.1"}]`, "!element 0: an element is no text"},
		{Layout{Format: JSON, Items: "data"}, `{"list": []}`, "!there is no member"},
		{Layout{Format: JSON, Field: "ip"}, `[{"ip": 5}]`, "!element 0: member \"ip\" is no text"},
		{Layout{Format: JSONL, Field: "cidr"}, "{\"cidr\":\"10.0.0.0/8\"}\n\n{\"type\":\"metadata\"}\n", "10.0.0.0/8"},
		{Layout{Format: JSONL}, "\"a\"\n{\n", "!line 2"},
		{Layout{Format: "xml"}, "", "!unknown format"},
	} {
		var got []string
		err := tt.layout.parse(strings.NewReader(tt.text), func(s string) error { got = append(got, s); return nil })
		if want, bad := strings.CutPrefix(tt.want, "!"); bad {
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%+v %.30q: error %v, want %q", tt.layout, tt.text, err, want)
			}
		} else if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%+v %.30q: %q %v", tt.layout, tt.text, got, err)
		}
	}
}

func isNetwork(s string) error {
	if _, err := netip.ParseAddr(s); err != nil {
		_, err = netip.ParsePrefix(s)
		return err
	}
	return nil
}

// publisher is a server whose answer a test changes.
type publisher struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
}

func publish(t *testing.T) *publisher {
	p := &publisher{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.answer.Load())(w, r) }))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) says(f http.HandlerFunc) { p.answer.Store(&f) }

func newFeed(t *testing.T, c Config) *Feed {
	t.Helper()
	c.Name, c.Directory = "drop", t.TempDir()
	if c.Layout.Format == "" {
		c.Layout.Format = Plain
	}
	for p, v := range map[*int]int{&c.Entries: 1000, &c.Least: 1, &c.Bad: 1} {
		if *p == 0 {
			*p = v
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 10_000
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	f, err := New(c, isNetwork)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func copyOf(t *testing.T, f *Feed) string {
	t.Helper()
	text, err := os.ReadFile(f.Path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimPrefix(string(text), "# feed drop\n")
}

// TestLastGoodCopy: whatever the publisher does, the copy is the last good one.
func TestLastGoodCopy(t *testing.T) {
	t.Parallel()
	p := publish(t)
	f := newFeed(t, Config{URL: p.URL, Timeout: time.Second})
	p.says(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "192.0.2.1\nnobody\n10.0.0.0/8\n")
	})
	if n, changed, err := f.Fetch(t.Context()); n != 2 || !changed || err != nil {
		t.Fatal(n, changed, err)
	}
	good := copyOf(t, f)
	if good != "192.0.2.1\n10.0.0.0/8\n" || f.Skipped.Load() != 1 {
		t.Fatalf("%q", good)
	}
	hang := make(chan struct{})
	defer close(hang)
	for name, bad := range map[string]http.HandlerFunc{
		"not found":             http.NotFound,
		"an error page":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>\n<p>we are sorry\n</html>\n") },
		"nothing":               func(http.ResponseWriter, *http.Request) {},
		"more bytes than may":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("192.0.2.1\n", 2000)) },
		"more entries than may": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("::1\n", 1001)) },
		"half a list": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "192.0.2.9\n")
		},
		"silence": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
		"a way to plain text": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://feeds.example.com/", http.StatusFound)
		},
		"a way round and round": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
	} {
		p.says(bad)
		if _, _, err := f.Fetch(t.Context()); err == nil {
			t.Errorf("%s is taken", name)
		}
		if copyOf(t, f) != good {
			t.Errorf("%s: the copy is %q", name, copyOf(t, f))
		}
	}
	left, _ := filepath.Glob(filepath.Join(f.Directory, ".*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	p.says(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
		}
	})
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.Path(), old, old); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := f.Fetch(t.Context()); changed || err != nil {
		t.Error(changed, err)
	}
	if age, ok := f.Age(time.Now()); !ok || age > time.Minute {
		t.Errorf("what is unchanged is %v old", age)
	}
}

// TestToken: it is sent to the publisher, read anew each time, and to nobody whom the publisher names.
func TestToken(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	other, p := publish(t), publish(t)
	var got []string
	note := func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		fmt.Fprint(w, "::1\n")
	}
	p.says(note)
	other.says(note)
	f := newFeed(t, Config{URL: p.URL, TokenFile: token})
	if _, _, err := f.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "token-file") {
		t.Error(err)
	}
	for _, text := range []string{"one\n", "two"} {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.says(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if _, _, err := f.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, "|") != "Bearer one|Bearer two|" {
		t.Errorf("%q", got)
	}
}

// TestTLS: a publisher that cannot be verified is not believed; its twin whose authority is named is.
func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "::1\n") }))
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if _, _, err := newFeed(t, Config{URL: srv.URL}).Fetch(t.Context()); err == nil {
		t.Error("anybody is believed")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := newFeed(t, Config{URL: srv.URL, CAFile: ca}).Fetch(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{CAFile: "/dev/null"}, isNetwork); err == nil {
		t.Error("an authority without certificates")
	}
}

// TestRun: a copy that is fresh is not fetched again, one that is missing is at once, and a file is followed.
func TestRun(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "list.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(source+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(source+".new", source); err != nil {
			t.Fatal(err)
		}
	}
	write("ip\n192.0.2.1\n")
	f := newFeed(t, Config{File: source, Layout: Layout{Format: CSV, Column: "ip"}, Refresh: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx, slog.New(slog.DiscardHandler)) }()
	eventually(t, func() bool { return copyOf(t, f) == "192.0.2.1\n" })
	write("ip\n192.0.2.2\n")
	eventually(t, func() bool { return copyOf(t, f) == "192.0.2.2\n" })
	write("no\nsuch\n")
	eventually(t, func() bool { return f.Failed.Load() > 0 })
	if copyOf(t, f) != "192.0.2.2\n" {
		t.Errorf("%q", copyOf(t, f))
	}
	cancel()
	<-done

	p := publish(t)
	var asked atomic.Int32
	p.says(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); fmt.Fprint(w, "::1\n") })
	g := newFeed(t, Config{URL: p.URL, Refresh: time.Hour})
	ctx, cancel = context.WithCancel(t.Context())
	done = make(chan struct{})
	go func() { defer close(done); g.Run(ctx, slog.New(slog.DiscardHandler)) }()
	eventually(t, func() bool { return g.Taken.Load() == 1 })
	cancel()
	<-done
	if wait := g.due(time.Now()); wait < 59*time.Minute || wait > time.Hour || asked.Load() != 1 {
		t.Errorf("next in %v, asked %d times", wait, asked.Load())
	}
	g.fails = 3
	if wait := g.due(time.Now()); wait != 4*firstRetry {
		t.Errorf("after three failures in %v", wait)
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://example.com/list": true, "http://127.0.0.1:80/x": true, "http://localhost/": true, "http://[::1]/": true,
		"http://example.com/": false, "ftp://example.com/": false, "/etc/passwd": false, "http://127.0.0.1.example.com/": false, "": false,
	} {
		if err := CheckURL(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 20 s")
		}
	}
}

func FuzzFormats(f *testing.F) {
	for _, seed := range []string{"192.0.2.1\n# x\n", "ip,b\n\"a\nb\",c\n", `{"a":{"b":[{"ip":"::1"},{}]}}`, "{\"ip\":\"::1\"}\n\"x\"\n", `["a"]`} {
		f.Add(seed)
	}
	layouts := []Layout{{Format: Plain}, {Format: CSV, Column: "1"}, {Format: CSV, Column: "ip", Comma: ';'}, {Format: JSON}, {Format: JSON, Items: "a.b", Field: "ip"}, {Format: JSONL, Field: "ip"}, {Format: JSONL}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range layouts {
			_ = l.parse(strings.NewReader(text), func(entry string) error {
				if l.Format == Plain && (entry == "" || entry != strings.TrimSpace(entry)) {
					t.Fatalf("entry %q", entry)
				}
				return nil
			})
		}
	})
}
