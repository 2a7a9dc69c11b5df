package bans

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Bounds of one look at an audit log.
const (
	maxLine = 64 << 10
	maxLook = 8 << 20 // what is beyond waits for the next look
)

// follower reads the lines that are added to a file, also when the file is replaced or emptied. What is in it at the first look is past and not read.
type follower struct {
	path    string
	file    *os.File
	offset  int64
	partial []byte // the beginning of a line whose end is not written yet
	skip    bool   // the line is too long: until its end nothing counts
	begun   bool
}

// look calls fn with each new line. The slice is valid during the call. A file that is not there is no error after it has been said once.
func (f *follower) look(fn func([]byte)) error {
	if f.file == nil {
		if err := f.open(); err != nil || f.file == nil {
			return err
		}
	}
	if err := f.read(fn); err != nil {
		f.close()
		return err
	}
	now, err := os.Stat(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot look at audit log: %v", err)
	}
	mine, err2 := f.file.Stat()
	if err == nil && err2 == nil && !os.SameFile(now, mine) { // rotated: what was written to the old one meanwhile has been read
		f.close()
		if err := f.open(); err != nil || f.file == nil {
			return err
		}
		return f.read(fn)
	}
	return nil
}

func (f *follower) open() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		f.begun = true // all of it will be new
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		f.file, err = os.Open(f.path)
	}
	if err != nil {
		return fmt.Errorf("cannot open audit log %s: %v", f.path, err)
	}
	if f.offset = 0; !f.begun {
		f.begun = true
		if f.offset, err = f.file.Seek(0, io.SeekEnd); err != nil {
			f.close()
			return fmt.Errorf("cannot read audit log: %v", err)
		}
		f.skip = f.offset > 0 && !f.atLineStart()
	}
	return nil
}

// atLineStart reports whether the byte before the offset ends a line.
func (f *follower) atLineStart() bool {
	var b [1]byte
	_, err := f.file.ReadAt(b[:], f.offset-1)
	return err == nil && b[0] == '\n'
}

func (f *follower) read(fn func([]byte)) error {
	if info, err := f.file.Stat(); err == nil && info.Size() < f.offset { // emptied, as logrotate's copytruncate does
		f.offset, f.partial, f.skip = 0, f.partial[:0], false
	}
	buf := make([]byte, 64<<10)
	for total := 0; total < maxLook; {
		n, err := f.file.ReadAt(buf, f.offset)
		f.offset += int64(n)
		total += n
		f.cut(buf[:n], fn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read audit log: %v", err)
		}
	}
	return nil
}

// cut splits what was read into lines.
func (f *follower) cut(text []byte, fn func([]byte)) {
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		text = rest
		if !f.skip && len(f.partial)+len(line) > maxLine {
			f.skip, f.partial = true, f.partial[:0]
		}
		if !f.skip {
			f.partial = append(f.partial, line...)
		}
		if !whole {
			return
		}
		if !f.skip && len(f.partial) > 0 {
			fn(f.partial)
		}
		f.partial, f.skip = f.partial[:0], false
	}
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file, f.partial, f.skip = nil, f.partial[:0], false
	}
}
