package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/feeds"
	"github.com/sentinel-stack/sentinel/protocol/agent"
)

// feedConfig is one block of feeds.
type feedConfig struct {
	URL         string      `json:"url"`
	File        string      `json:"file"`
	Format      string      `json:"format"`
	Column      agent.Texts `json:"column"`
	Separator   string      `json:"separator"`
	Field       string      `json:"field"`
	Items       string      `json:"items"`
	RefreshSecs float64     `json:"refresh-secs"`
	TimeoutSecs float64     `json:"timeout-secs"`
	MaxBytes    int64       `json:"max-bytes"`
	MaxEntries  int         `json:"max-entries"`
	MinEntries  int         `json:"min-entries"`
	MaxWrong    int         `json:"max-wrong-entries"`
	CAFile      string      `json:"ca-file"`
	TokenFile   string      `json:"token-file"`
	Required    bool        `json:"required"`
}

// Defaults and bounds of feeds.
const (
	defaultRefresh  = 3600
	defaultLook     = 5 // at a file
	defaultTimeout  = 30
	defaultMaxBytes = 16 << 20
	defaultEntries  = 1_000_000
	defaultWrong    = 10
	maxFeeds        = 64
)

// planned is a feed with the checks of the lists that it fills.
type planned struct {
	config   feeds.Config
	required bool
	checks   []func(entry string) error
}

// planFeeds checks the feeds of a configuration.
func (b *builder) planFeeds(c *config) {
	b.feeds = map[string]*planned{}
	if len(c.Feeds) > maxFeeds {
		b.problems = append(b.problems, fmt.Errorf("feeds: there are %d, at most %d are possible", len(c.Feeds), maxFeeds))
	}
	if len(c.Feeds) == 0 && c.FeedDirectory != "" {
		b.problems = append(b.problems, errors.New("feed-directory: there are no feeds"))
	}
	if info, err := os.Stat(c.FeedDirectory); len(c.Feeds) > 0 && (err != nil || !info.IsDir() || !filepath.IsAbs(c.FeedDirectory)) {
		b.problems = append(b.problems, fmt.Errorf("feed-directory: %q is no directory; name one by its absolute path, in which the last good copies are kept", c.FeedDirectory))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Feeds)) {
		f := c.Feeds[name]
		p, err := f.plan(name, c.FeedDirectory)
		if err != nil {
			b.problems = append(b.problems, err)
		}
		b.feeds[name] = p
	}
}

// plan fills in the defaults and checks what can be checked without the feed.
func (f *feedConfig) plan(name, directory string) (*planned, error) {
	at := "feeds." + name
	var problems []error
	bad := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s.%s: %s", at, key, fmt.Sprintf(format, args...)))
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || name == "" || len(name) > 64 {
		problems = append(problems, fmt.Errorf("%s: a feed is named by letters, digits, - and _", at))
	}
	switch {
	case (f.URL == "") == (f.File == ""):
		bad("url", "a feed has a url or a file")
	case f.URL != "":
		if err := feeds.CheckURL(f.URL); err != nil {
			bad("url", "%v", err)
		}
	case f.CAFile != "" || f.TokenFile != "":
		bad("file", "ca-file and token-file belong to a url")
	}
	column := f.column(at, &problems)
	f.checkLayout(column, bad)
	f.checkNumbers(bad)
	refresh := defaultRefresh
	if f.File != "" {
		refresh = defaultLook
	}
	comma := rune(0)
	if f.Separator != "" {
		comma = []rune(f.Separator)[0]
	}
	return &planned{required: f.Required, config: feeds.Config{
		Name: name, URL: f.URL, File: f.File, Directory: directory, CAFile: f.CAFile, TokenFile: f.TokenFile,
		Layout:  feeds.Layout{Format: or(f.Format, feeds.Plain), Column: or(column, "1"), Comma: comma, Field: f.Field, Items: f.Items},
		Refresh: seconds(f.RefreshSecs, refresh), Timeout: seconds(f.TimeoutSecs, defaultTimeout),
		MaxBytes: or(f.MaxBytes, defaultMaxBytes), Entries: or(f.MaxEntries, defaultEntries), Least: or(f.MinEntries, 1), Bad: or(f.MaxWrong, defaultWrong),
	}}, errors.Join(problems...)
}

// column is the name or number of the column, "" = it is not given.
func (f *feedConfig) column(at string, problems *[]error) string {
	list, err := f.Column.ListOfAny(at + ".column")
	if err == nil && len(list) > 1 {
		err = fmt.Errorf("%s.column: entries are in one column", at)
	}
	if err != nil {
		*problems = append(*problems, err)
	}
	return strings.Join(list, "")
}

func (f *feedConfig) checkLayout(column string, bad func(key, format string, args ...any)) {
	format := or(f.Format, feeds.Plain)
	switch format {
	case feeds.Plain, feeds.CSV, feeds.JSON, feeds.JSONL:
	default:
		bad("format", "unknown format %q, want plain, csv, json or jsonl", f.Format)
		return
	}
	only := func(key string, given bool, formats ...string) {
		if given && !slices.Contains(formats, format) {
			bad(key, "has no meaning in the format %s", format)
		}
	}
	only("column", column != "", feeds.CSV)
	only("separator", f.Separator != "", feeds.CSV)
	only("field", f.Field != "", feeds.JSON, feeds.JSONL)
	only("items", f.Items != "", feeds.JSON)
	if r := []rune(f.Separator); f.Separator != "" && (len(r) != 1 || strings.ContainsRune("\r\n\"#\ufffd", r[0])) {
		bad("separator", "%q is not one character that separates columns", f.Separator)
	}
	if column == "0" || strings.HasPrefix(column, "-") {
		bad("column", "columns are counted from 1")
	}
}

func (f *feedConfig) checkNumbers(bad func(key, format string, args ...any)) {
	within := func(key string, v, lo, hi float64) {
		if v != 0 && (v < lo || v > hi || math.IsNaN(v)) {
			bad(key, "%v is not between %v and %v", v, lo, hi)
		}
	}
	within("refresh-secs", f.RefreshSecs, 1, 30*86400)
	within("timeout-secs", f.TimeoutSecs, 0.1, 600)
	within("max-bytes", float64(f.MaxBytes), 1, 1<<30)
	within("max-entries", float64(f.MaxEntries), 1, 20_000_000)
	within("min-entries", float64(f.MinEntries), 1, float64(or(f.MaxEntries, defaultEntries)))
	within("max-wrong-entries", float64(f.MaxWrong), 1, 1_000_000)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func seconds(v float64, otherwise int) time.Duration {
	return time.Duration(or(v, float64(otherwise)) * float64(time.Second))
}

// planned are the feeds that a key names.
func (b *builder) planned(key string, names agent.Texts) (list []*planned) {
	texts, err := names.List(key)
	if err != nil {
		b.problems = append(b.problems, err)
	}
	for _, name := range texts {
		if p := b.feeds[name]; p != nil {
			list = append(list, p)
		} else {
			b.problems = append(b.problems, fmt.Errorf("%s: no feed is called %q", key, name))
		}
	}
	return list
}

// Feed is a feed, and whether there has to be a copy before requests are judged.
type Feed struct {
	*feeds.Feed
	Required bool
}

// openFeeds makes those that fill a list.
func (b *builder) openFeeds() (list []Feed) {
	for _, name := range slices.Sorted(maps.Keys(b.feeds)) {
		p := b.feeds[name]
		if p == nil {
			continue
		}
		if len(p.checks) == 0 {
			b.problems = append(b.problems, fmt.Errorf("feeds.%s: no list is filled by it: name it in block-ips-feed or another key that ends in -feed", name))
			continue
		}
		f, err := feeds.New(p.config, func(entry string) error {
			for _, check := range p.checks {
				if err := check(entry); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.problems = append(b.problems, fmt.Errorf("feeds.%s.%v", name, err))
			continue
		}
		if p.config.MaxBytes > b.limits.FileBytes {
			b.problems = append(b.problems, fmt.Errorf("feeds.%s.max-bytes: is more than max-list-bytes, %d", name, b.limits.FileBytes))
		}
		list = append(list, Feed{f, p.required})
	}
	return list
}
