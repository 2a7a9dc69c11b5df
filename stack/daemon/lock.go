package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/reap"
)

// ControlSocket is the path of the control socket in a runtime directory.
func ControlSocket(runtimeDir string) string { return filepath.Join(runtimeDir, "control.sock") }

// RunningError says that another supervisor owns the runtime directory.
type RunningError struct {
	PID int // 0 = unknown
	Dir string
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("a supervisor is already running: pid %d, runtime directory %s", e.PID, e.Dir)
}

// lock owns a runtime directory. The kernel lets go of it when the process ends, however it ends, so a stale lock does not exist; the file itself stays.
type lock struct{ file *os.File }

// maxRuntimeDir leaves room for the names below it in the 107 bytes that the path of a Unix socket may have.
const maxRuntimeDir = 70

// dying bounds the wait for a supervisor that was killed: its last threads may hold the lock for a moment.
const dying = 2 * time.Second

// ownerOf is who wrote the lock, 0 = it does not say.
func ownerOf(f *os.File) int {
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}

// acquire makes dir, checks that nobody else could have prepared it, and locks it.
func acquire(dir string) (*lock, error) {
	if len(dir) > maxRuntimeDir {
		return nil, fmt.Errorf("cannot use runtime directory %s: paths of Unix sockets are short, it may have %d bytes at most", dir, maxRuntimeDir)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make runtime directory: %v", err)
	}
	if err := checkOwner(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "stack.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock: %v", err)
	}
	var lockErr error
	owner := 0
	for end := time.Now().Add(dying); ; time.Sleep(dying / 200) {
		err = controlFile(f, func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
		if err != nil || lockErr != unix.EWOULDBLOCK {
			break
		}
		if owner = ownerOf(f); owner == 0 || reap.Alive(owner) || !time.Now().Before(end) {
			break
		}
	}
	if err != nil || lockErr != nil {
		f.Close()
		if lockErr != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("cannot lock %s: %v %v", path, err, lockErr)
		}
		return nil, &RunningError{PID: owner, Dir: dir}
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write lock: %v", err)
	}
	return &lock{f}, nil
}

// checkOwner refuses a directory that another user could have laid out for us.
func checkOwner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cannot look at runtime directory: %v", err)
	}
	uid := os.Geteuid()
	if int(st.Uid) != uid && uid != 0 {
		return fmt.Errorf("cannot use runtime directory %s: it belongs to uid %d", dir, st.Uid)
	}
	if st.Mode&0o002 != 0 {
		return fmt.Errorf("cannot use runtime directory %s: everybody may write to it", dir)
	}
	return nil
}

func (l *lock) release() {
	l.file.Truncate(0)
	l.file.Close()
}

func controlFile(f *os.File, fn func(uintptr)) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(fn)
}

// Owned says whether a supervisor runs in a runtime directory.
func Owned(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "stack.lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	var lockErr error
	if controlFile(f, func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_SH|unix.LOCK_NB) }) != nil {
		return false
	}
	return lockErr == unix.EWOULDBLOCK
}
