// Package lists reads rule lists from files, one entry a line, and notices when a file has changed.
//
// A file is looked at, not subscribed to: kernel notifications miss changes on network and overlay file systems, do not follow a symbolic link that is
// switched above the file (as orchestrators do), and must be renewed whenever an editor replaces the file. One stat a second costs a few microseconds and
// misses nothing that lasts.
//
// A file that was replaced (another inode) is complete, because the replacement is one step. A file that was rewritten in place may be half written, so
// its new content is taken only when two looks in a row see the same bytes.
package lists

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Limits bound what one file may hold.
type Limits struct {
	FileBytes int64 // size of the file
	LineBytes int   // length of a line, without its end
}

// DefaultLimits hold a list of about two million IPv4 networks.
var DefaultLimits = Limits{FileBytes: 64 << 20, LineBytes: 4096}

// maxReported is the number of bad lines reported for one file; the others are counted.
const maxReported = 10

// File is one list file. It is not safe for concurrent use.
type File struct {
	Path     string
	limits   Limits
	optional bool // without the file there are no entries

	taken   stamp             // the file as it was when last read
	digest  [sha256.Size]byte // of that content
	pending [sha256.Size]byte // content seen by the last look that is not taken yet
	missing bool              // the last look failed and said so
	owed    bool              // a look or a reading failed since the last full reading, so what the file holds now must be read even if it is what it was
}

// New returns a file that has not been read.
func New(path string, limits Limits) *File { return &File{Path: path, limits: limits} }

// NewOptional returns a file that may be missing and has no entries then.
func NewOptional(path string, limits Limits) *File {
	return &File{Path: path, limits: limits, optional: true}
}

// Read calls add with each entry: lines without their comments and surrounding blanks. A comment is a '#' at the beginning of a line or after a blank. The slice is
// valid during the call only. Bad lines do not end the reading: they are returned together, each as "path:line: message".
//
// Whatever the result, Changed is false from now on until the file differs from what was read.
func (f *File) Read(add func(line []byte) error) error {
	return f.read(func(r io.Reader) error { return f.lines(r, add) })
}

// ReadAll copies the whole file to w. Changed is false afterwards as after Read.
func (f *File) ReadAll(w io.Writer) error {
	return f.read(func(r io.Reader) error {
		if _, err := io.Copy(w, r); err != nil {
			return fmt.Errorf("cannot read %s: %v", f.Path, err)
		}
		return nil
	})
}

func (f *File) read(consume func(io.Reader) error) error {
	file, err := f.open()
	if err != nil {
		f.missing, f.owed = true, true
		if f.optional && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("cannot inspect list: %v", err)
	}
	if info.Size() > f.limits.FileBytes {
		f.remember(stampOf(info), [sha256.Size]byte{})
		return fmt.Errorf("%s: file has %d bytes, more than %d", f.Path, info.Size(), f.limits.FileBytes)
	}
	hash := sha256.New()
	// One byte beyond the limit shows a file that grew after the look above.
	source := &io.LimitedReader{R: file, N: f.limits.FileBytes + 1}
	err = consume(io.TeeReader(source, hash))
	if source.N == 0 {
		err = fmt.Errorf("%s: file has more than %d bytes", f.Path, f.limits.FileBytes)
	}
	_, _ = io.Copy(hash, source) // after a line that is too long the rest is unread
	f.remember(stampOf(info), [sha256.Size]byte(hash.Sum(nil)))
	return err
}

func (f *File) remember(s stamp, digest [sha256.Size]byte) {
	f.taken, f.digest, f.pending, f.missing = s, digest, digest, false
	f.owed = false
}

// open refuses what is not a regular file: reading a pipe or a terminal would wait for ever.
func (f *File) open() (*os.File, error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot open list: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot open list: %s is not a regular file", f.Path)
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot open list: %v", err)
	}
	return file, nil
}

func (f *File) lines(r io.Reader, add func([]byte) error) error {
	scanner := bufio.NewScanner(bufio.NewReaderSize(r, 64<<10))
	scanner.Buffer(make([]byte, 0, f.limits.LineBytes+2), f.limits.LineBytes+2) // room for "\r\n"
	var problems []error
	number, bad := 0, 0
	for scanner.Scan() {
		number++
		line := scanner.Bytes()
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // byte order mark
		}
		if line = entry(line); len(line) == 0 {
			continue
		}
		if err := add(line); err != nil {
			if bad++; bad <= maxReported {
				problems = append(problems, fmt.Errorf("%s:%d: %v", f.Path, number, err))
			}
		}
	}
	if bad > maxReported {
		problems = append(problems, fmt.Errorf("%s: %d more bad lines", f.Path, bad-maxReported))
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		problems = append(problems, fmt.Errorf("%s:%d: line is longer than %d bytes", f.Path, number+1, f.limits.LineBytes))
	case err != nil:
		problems = append(problems, fmt.Errorf("cannot read list: %v", err))
	}
	return errors.Join(problems...)
}

// entry cuts the comment and the blanks around what is left.
func entry(line []byte) []byte {
	for i, c := range line {
		if c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return bytes.TrimSpace(line)
}
