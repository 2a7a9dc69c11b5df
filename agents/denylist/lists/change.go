package lists

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// settled is how old a modification must be before an unchanged stamp proves unchanged content: file systems stamp with a coarse clock, so two writes
// within one tick may leave the same stamp.
const settled = 2 * time.Second

// stamp is what stat tells about a file.
type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
	changed       time.Time // of the inode; a write that resets the modification time still shows here
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(sys.Dev), sys.Ino
		s.changed = time.Unix(sys.Ctim.Unix())
	}
	return s
}

// Changed reports whether the file holds something new that is ready to be read. A file that cannot be inspected is an error once, and then silence until it
// is back. now is the time of the look; looks should be about a second apart.
func (f *File) Changed(now time.Time) (bool, error) {
	info, err := os.Stat(f.Path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Path)
	}
	if err != nil {
		if f.missing || f.optional && errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		f.missing, f.owed = true, true
		return false, fmt.Errorf("cannot look at list: %v", err)
	}
	s := stampOf(info)
	if s == f.taken && now.Sub(s.modified) > settled && now.Sub(s.changed) > settled && !f.owed {
		return false, nil
	}
	f.missing = false
	if s.size > f.limits.FileBytes {
		return s != f.taken, nil // Read refuses it, once
	}
	digest, err := f.sum()
	if err != nil {
		f.missing, f.owed = true, true
		return false, err
	}
	if digest == f.digest && !f.owed {
		f.taken, f.pending = s, digest
		return false, nil
	}
	replaced := s.inode != f.taken.inode || s.device != f.taken.device
	stable := digest == f.pending
	f.pending = digest
	return replaced || stable, nil
}

func (f *File) sum() (digest [sha256.Size]byte, err error) {
	file, err := f.open()
	if err != nil {
		return digest, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, f.limits.FileBytes)); err != nil {
		return digest, fmt.Errorf("cannot read list: %v", err)
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}
