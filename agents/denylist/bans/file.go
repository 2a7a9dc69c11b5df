package bans

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// store is the file in which tables meet. Its lines are "network until since what reason", times in nanoseconds since 1970, what is "ban" or "lift".
type store struct {
	path string
	seen os.FileInfo // the file as it was when it was last read or written
}

const (
	header     = "# sentinel-denylist bans 1"
	maxFile    = 64 << 20
	wordBan    = "ban"
	wordLifted = "lift"
)

// sync brings what others wrote into the table, and the table into the file when it knows more. The file is locked meanwhile, by another file that nobody replaces.
func (s *store) sync(t *table, now time.Time) error {
	info, err := os.Stat(s.path)
	same := err == nil && s.seen != nil && os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size()
	t.mu.Lock()
	t.expire(now)
	dirty := t.changed
	t.mu.Unlock()
	if same && !dirty {
		return nil
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.read(t, now); err != nil {
		return err
	}
	t.mu.Lock()
	dirty = t.changed
	t.changed = false
	t.mu.Unlock()
	if !dirty {
		s.seen, _ = os.Stat(s.path)
		return nil
	}
	if err := s.write(t); err != nil {
		t.mu.Lock()
		t.changed = true // for the next time
		t.mu.Unlock()
		return err
	}
	s.seen, _ = os.Stat(s.path)
	return nil
}

// lock waits for nobody longer than a writer needs: the agent goes on without the file until the next time.
func (s *store) lock() (func(), error) {
	f, err := os.OpenFile(s.path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock bans: %v", err)
	}
	for range 50 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	f.Close()
	return nil, fmt.Errorf("cannot lock bans in %s: %v", s.path, err)
}

// read merges the file. One that is not ours, or damaged, is an error, and stays as it is.
func (s *store) read(t *table, now time.Time) error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read bans: %v", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return fmt.Errorf("cannot read bans: %s is no file of at most %d bytes", s.path, maxFile)
	}
	list, err := parse(f)
	if err != nil {
		return fmt.Errorf("cannot read bans: %s:%v", s.path, err)
	}
	for _, e := range list {
		if now.Before(e.Until) {
			_ = t.put(e, now) // what does not fit here is for others to remember
		}
	}
	return nil
}

// parse reads a whole file. Errors begin with the line's number.
func parse(r io.Reader) (list []entry, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1024), 1024)
	n := 0
	for lines.Scan() {
		if n++; n == 1 {
			if lines.Text() != header {
				return nil, fmt.Errorf("1: is not %q: the file is not one of bans", header)
			}
			continue
		}
		e, err := parseLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%d: %v", n, err)
		}
		list = append(list, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %v", n+1, err)
	}
	return list, nil
}

func parseLine(line string) (e entry, err error) {
	f := strings.SplitN(line, " ", 5)
	if len(f) != 5 {
		return e, errors.New("has too few fields")
	}
	p, err := netip.ParsePrefix(f[0])
	if err == nil {
		e.Network, err = canonical(p)
	}
	if err != nil {
		return e, fmt.Errorf("%q: %v", f[0], err)
	}
	if e.Until, err = stamp(f[1]); err != nil {
		return e, err
	}
	if e.Since, err = stamp(f[2]); err != nil {
		return e, err
	}
	if e.lifted = f[3] == wordLifted; !e.lifted && f[3] != wordBan {
		return e, fmt.Errorf("%q is neither %s nor %s", f[3], wordBan, wordLifted)
	}
	e.Reason = clean(f[4])
	return e, nil
}

func stamp(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	return time.Unix(0, n), nil
}

// clean makes a reason one line of bounded length.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return strings.TrimSpace(text)
}

// write replaces the file in one step.
func (s *store) write(t *table) error {
	list := t.entries()
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.Network.String(), b.Network.String()) })
	var b bytes.Buffer
	b.WriteString(header + "\n")
	for _, e := range list {
		word := wordBan
		if e.lifted {
			word = wordLifted
		}
		fmt.Fprintf(&b, "%s %d %d %s %s\n", e.Network, e.Until.UnixNano(), e.Since.UnixNano(), word, e.Reason)
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), "."+filepath.Base(s.path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("cannot write bans: %v", err)
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("cannot write bans: %v", err)
	}
	return nil
}
