package feeds

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Config says where a feed comes from and what it may hold.
type Config struct {
	Name      string
	URL, File string // one of them
	Layout    Layout
	Refresh   time.Duration
	Timeout   time.Duration
	MaxBytes  int64
	Entries   int // at most
	Least     int // fewer than these are a mistake of the publisher's
	Bad       int // entries that may be wrong: more and the copy is not taken
	CAFile    string
	TokenFile string // its content is sent as bearer token
	Directory string // of the copy
}

// Path is the file of the last good copy: a list with an entry a line.
func (c Config) Path() string { return filepath.Join(c.Directory, c.Name+".list") }

// Retries after failures: doubling, not later than the next regular one.
const (
	firstRetry = 30 * time.Second
	lastRetry  = time.Hour
	maxToken   = 4 << 10
)

// Feed keeps the copy fresh. Fetch and Run belong to one goroutine.
type Feed struct {
	Config
	check   func(entry string) error
	client  *http.Client
	etag    string
	source  os.FileInfo // of File, when it was last read
	fails   int
	Taken   atomic.Uint64 // copies that were taken
	Same    atomic.Uint64 // looks that found nothing new
	Failed  atomic.Uint64
	Skipped atomic.Int64 // wrong entries of the last copy
}

// New makes a feed whose entries have to pass check. Nothing is fetched yet.
func New(c Config, check func(entry string) error) (*Feed, error) {
	f := &Feed{Config: c, check: check}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext, TLSHandshakeTimeout: c.Timeout, ResponseHeaderTimeout: c.Timeout, MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca-file: %v", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca-file: %s holds no certificate", c.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	f.client = &http.Client{Transport: t, Timeout: c.Timeout, CheckRedirect: sameSafety}
	return f, nil
}

// sameSafety follows few redirects, and none that leads from TLS to plain text or takes the token elsewhere.
func sameSafety(next *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than three redirects")
	}
	if CheckURL(next.URL.String()) != nil {
		return fmt.Errorf("redirected to %s, which is not https", next.URL.Redacted())
	}
	if next.URL.Host != via[0].URL.Host {
		next.Header.Del("Authorization")
	}
	return nil
}

// CheckURL refuses what anybody on the way could change: a feed comes by https, or from this machine.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is no address: write https://host/path", text)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q is not https: anybody on the way could change the list", u.Redacted())
}

// Age is how old the copy is; ok is false when there is none.
func (f *Feed) Age(now time.Time) (age time.Duration, ok bool) {
	info, err := os.Stat(f.Path())
	if err != nil {
		return 0, false
	}
	return now.Sub(info.ModTime()), true
}

// Run fetches whenever the copy is older than Refresh, until ctx ends. Instances that share the directory share the copies.
func (f *Feed) Run(ctx context.Context, log *slog.Logger) {
	for {
		wait := f.due(time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		n, changed, err := f.Fetch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.fails++
			log.Error("cannot take feed, the last good copy stays", "feed", f.Name, "error", err, "again_secs", f.due(time.Now()).Seconds())
		case changed:
			f.fails = 0
			log.Info("feed taken", "feed", f.Name, "entries", n, "skipped", f.Skipped.Load())
		default:
			f.fails = 0
		}
	}
}

// due is how long to wait for the next fetch.
func (f *Feed) due(now time.Time) time.Duration {
	if f.fails > 0 {
		return min(firstRetry<<min(f.fails-1, 10), lastRetry, max(f.Refresh, time.Second))
	}
	if f.File != "" {
		if f.source == nil {
			return 0
		}
		return f.Refresh
	}
	age, ok := f.Age(now)
	if !ok {
		return 0
	}
	return min(max(f.Refresh-age, 0), f.Refresh) // a copy from the future is as good as one of now
}

// Fetch makes a new copy if there is anything new. On error the copy is as it was.
func (f *Feed) Fetch(ctx context.Context) (entries int, changed bool, err error) {
	defer func() {
		switch {
		case err != nil:
			f.Failed.Add(1)
		case changed:
			f.Taken.Add(1)
		default:
			f.Same.Add(1)
		}
	}()
	if f.File != "" {
		return f.fromFile()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return 0, false, err
	}
	req.Header.Set("User-Agent", "sentinel-denylist")
	if _, copied := f.Age(time.Now()); f.etag != "" && copied {
		req.Header.Set("If-None-Match", f.etag)
	}
	if f.TokenFile != "" {
		token, err := readToken(f.TokenFile)
		if err != nil {
			return 0, false, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return 0, false, fmt.Errorf("%w (a sandbox needs network \"host\")", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		now := time.Now()
		return 0, false, os.Chtimes(f.Path(), now, now)
	default:
		return 0, false, fmt.Errorf("it answers %s", resp.Status)
	}
	if entries, err = f.take(resp.Body); err == nil {
		f.etag = resp.Header.Get("ETag")
	}
	return entries, err == nil, err
}

func (f *Feed) fromFile() (entries int, changed bool, err error) {
	info, err := os.Stat(f.File)
	if err != nil {
		return 0, false, err
	}
	if f.source != nil && os.SameFile(info, f.source) && info.ModTime().Equal(f.source.ModTime()) && info.Size() == f.source.Size() {
		return 0, false, nil
	}
	if !info.Mode().IsRegular() {
		return 0, false, fmt.Errorf("%s is not a regular file", f.File)
	}
	file, err := os.Open(f.File)
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	f.source = info // also when it is wrong: it has to change before it is looked into again
	entries, err = f.take(file)
	return entries, err == nil, err
}

func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("token-file: %v", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	token := strings.TrimSpace(string(text))
	if err != nil || len(text) > maxToken || token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("token-file: %s does not hold one line of at most %d bytes", path, maxToken)
	}
	return token, nil
}

var errTooMany = errors.New("too many entries")

// take writes the entries of a feed to a new copy, which replaces the old one only when it is good.
func (f *Feed) take(r io.Reader) (entries int, err error) {
	tmp, err := os.CreateTemp(f.Directory, "."+f.Name+".*")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, fmt.Errorf("feed-directory: %w (it has to be there, and a sandbox needs it in write)", err)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	w := bufio.NewWriter(tmp)
	fmt.Fprintf(w, "# feed %s\n", f.Name)
	entries, err = f.copy(w, r)
	if err != nil {
		return 0, err
	}
	if err = errors.Join(w.Flush(), tmp.Sync(), tmp.Close()); err != nil {
		return 0, err
	}
	return entries, os.Rename(tmp.Name(), f.Path())
}

func (f *Feed) copy(w io.Writer, r io.Reader) (entries int, err error) {
	source := &io.LimitedReader{R: r, N: f.MaxBytes + 1}
	bad, first := 0, error(nil)
	err = f.Layout.parse(source, func(entry string) error {
		wrong := f.check(entry)
		if len(entry) > maxEntry || strings.ContainsAny(entry, "\r\n") || strings.HasPrefix(entry, "#") || strings.Contains(entry, " #") || strings.Contains(entry, "\t#") {
			wrong = errors.New("is too long, or cannot be a line of a list") // the rest would be a comment there
		}
		if wrong != nil {
			if bad++; first == nil {
				first = wrong
			}
			if bad > f.Bad {
				return fmt.Errorf("%d wrong entries, the first: %w", bad, first)
			}
			return nil
		}
		if entries++; entries > f.Entries {
			return errTooMany
		}
		_, err := io.WriteString(w, entry+"\n")
		return err
	})
	switch {
	case source.N == 0:
		return 0, fmt.Errorf("it has more than %d bytes", f.MaxBytes)
	case errors.Is(err, errTooMany):
		return 0, fmt.Errorf("it has more than %d entries", f.Entries)
	case err != nil:
		return 0, err
	case entries < f.Least:
		return 0, fmt.Errorf("it has %d entries, at least %d are wanted", entries, f.Least)
	}
	f.Skipped.Store(int64(bad))
	return entries, nil
}
