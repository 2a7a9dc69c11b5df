package policy

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFeedAndBanErrors: what is wrong is refused with its key.
func TestFeedAndBanErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	feed := func(keys string) string {
		return fmt.Sprintf(`{"feed-directory": %q, "block-ips-feed": "a", "feeds": {"a": {%s}}}`, dir, keys)
	}
	trigger := func(keys string) string {
		return fmt.Sprintf(`{"bans": {"triggers": {"t": {"audit-file": "/var/log/a", "tags": "x"%s}}}}`, keys)
	}
	for text, want := range map[string]string{
		`{"feeds": {"a": {"file": "/x"}}, "block-ips-feed": "a"}`:                               "feed-directory: ",
		`{"feed-directory": "/nowhere", "feeds": {"a": {"file": "/x"}}, "block-ips-feed": "a"}`: "feed-directory: ",
		`{"feed-directory": "/tmp"}`: "feed-directory: there are no feeds",
		`{"block-ips-feed": "b"}`:    "block-ips-feed: no feed is called \"b\"",
		fmt.Sprintf(`{"feed-directory": %q, "feeds": {"a": {"file": "/x"}}}`, dir):    "feeds.a: no list is filled by it",
		fmt.Sprintf(`{"feed-directory": %q, "feeds": {"../a": {"file": "/x"}}}`, dir): "feeds.../a: a feed is named by",
		feed(``):                                                       "feeds.a.url: ",
		feed(`"url": "https://x", "file": "/x"`):                       "feeds.a.url: ",
		feed(`"url": "http://example.com/"`):                           "feeds.a.url: ",
		feed(`"file": "/x", "ca-file": "/y"`):                          "feeds.a.file: ",
		feed(`"file": "/x", "format": "xml"`):                          "feeds.a.format: unknown",
		feed(`"file": "/x", "column": 2`):                              "feeds.a.column: has no meaning",
		feed(`"file": "/x", "format": "csv", "column": 0`):             "feeds.a.column: columns are counted",
		feed(`"file": "/x", "format": "csv", "separator": ";;"`):       "feeds.a.separator: ",
		feed(`"file": "/x", "refresh-secs": 0.5`):                      "feeds.a.refresh-secs: ",
		feed(`"file": "/x", "max-bytes": 2000000000`):                  "feeds.a.max-bytes: ",
		feed(`"file": "/x", "max-bytes": 70000000`):                    "feeds.a.max-bytes: is more than max-list-bytes",
		feed(`"file": "/x", "max-entries": 5, "min-entries": 6`):       "feeds.a.min-entries: ",
		feed(`"url": "https://x", "ca-file": "/dev/null"`):             "feeds.a.ca-file: ",
		feed(`"fil": "/x"`):                                            "feeds.a.fil: unknown key",
		`{"bans": {}}`:                                                 "bans: without",
		`{"bans": {"socket": "x"}}`:                                    "bans.socket: ",
		`{"bans": {"file": "x"}}`:                                      "bans.file: ",
		`{"bans": {"file": "/x", "max-secs": -1}}`:                     "bans.max-secs: ",
		`{"bans": {"file": "/x", "default-secs": 60, "max-secs": 30}}`: "bans.default-secs: ",
		`{"bans": {"file": "/x", "max-entries": 2000000}}`:             "bans.max-entries: ",
		`{"bans": {"triggers": {"t": {"tags": "x"}}}}`:                 "bans.triggers.t.audit-file: ",
		`{"bans": {"triggers": {"t": {"audit-file": "/a"}}}}`:          "bans.triggers.t.tags: name",
		trigger(`, "count": 1001`):                                     "bans.triggers.t.count: ",
		trigger(`, "within-secs": 0.5`):                                "bans.triggers.t.within-secs: ",
		trigger(`, "ban-secs": 1e9`):                                   "bans.triggers.t.ban-secs: ",
	} {
		if _, err := New(json.RawMessage(text), &Counters{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, good := range []string{
		feed(`"file": "/x", "format": "csv", "column": 2, "separator": ";"`), feed(`"url": "https://x", "format": "json", "items": "a.b", "field": "ip"`), trigger(``), trigger(`, "rules": 942100`),
	} {
		if _, err := New(json.RawMessage(good), &Counters{}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// TestFeedFillsLists: the copy of a feed is a list like others; without one the list is empty, and it is taken when it comes.
func TestFeedFillsLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "in.txt")
	if err := os.WriteFile(source, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(fmt.Appendf(nil, `{"feed-directory": %q, "block-ips-feed": "a", "feeds": {"a": {"file": %q}}}`, dir, source), &Counters{})
	if err != nil {
		t.Fatal(err)
	}
	size := func() (n int) { p.Sizes(func(_ string, entries int) { n += entries }); return n }
	if size() != 0 {
		t.Error("entries without a copy")
	}
	if n, changed, err := p.Feeds[0].Fetch(t.Context()); n != 1 || !changed || err != nil {
		t.Fatal(n, changed, err)
	}
	p.Poll(time.Now(), slog.New(slog.DiscardHandler))
	if size() != 1 {
		t.Errorf("%d entries", size())
	}
}
