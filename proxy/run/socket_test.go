package run

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Only what nobody listens on is replaced.
func TestListenUnix(t *testing.T) {
	t.Parallel()
	t.Run("stale", func(t *testing.T) {
		path := filepath.Join(socketFolder(t), "a.sock")
		old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		old.SetUnlinkOnClose(false) // as after kill -9
		old.Close()
		ln, err := listenUnix(path, 0o660)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	t.Run("live", func(t *testing.T) {
		path := filepath.Join(socketFolder(t), "a.sock")
		old, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		wantRefused(t, path)
	})
	t.Run("live with a full queue", func(t *testing.T) {
		path := filepath.Join(socketFolder(t), "a.sock")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantRefused(t, path)
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(socketFolder(t), "a.sock")
		if err := os.WriteFile(path, []byte("dear"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, path)
	})
	t.Run("a link to a file", func(t *testing.T) {
		dir := socketFolder(t)
		path := filepath.Join(dir, "a.sock")
		if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, path)
	})
}

func wantRefused(t *testing.T, path string) {
	t.Helper()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if ln, err := listenUnix(path, 0o660); err == nil {
		ln.Close()
		t.Error("it was replaced")
	}
	after, err := os.Lstat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it is not what it was: %v", err)
	}
}

// A socket at the path of a listener is that listener's, whatever it is called.
func TestInheritedUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketFolder(t), "a.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	in := &inherited{sockets: []socket{{name: "other", ln: ln}}}
	if got := in.unix(path+"x", "web"); got != nil {
		t.Errorf("another path got %v", got.Addr())
	}
	if got := in.unix(path, "web"); got != ln {
		t.Errorf("got %v", got)
	}
	if got := in.unix(path, "web"); got != nil {
		t.Error("it was given out twice")
	}
}
