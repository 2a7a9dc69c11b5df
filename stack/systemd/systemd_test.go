package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager receives what is sent to NOTIFY_SOCKET.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	address := name
	if strings.HasPrefix(name, "@") {
		address = "\x00" + name[1:]
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c
}

// receive returns one message and the descriptors that came with it.
func receive(t *testing.T, c *net.UnixConn) (string, []int) {
	t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	msgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range msgs {
		if rights, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, rights...)
		}
	}
	return string(buf[:n]), fds
}

func TestMessages(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@sentinel-test-%d", os.Getpid())} {
		c := manager(t, name)
		n := NewNotifier()
		for _, step := range []struct {
			send func()
			want []string
		}{
			{func() { n.Ready("all\nwell") }, []string{"READY=1", "STATUS=all well"}},
			{func() { n.Status("so so") }, []string{"STATUS=so so"}},
			{n.Alive, []string{"WATCHDOG=1"}},
			{func() { n.Stopping("bye") }, []string{"STOPPING=1", "STATUS=bye"}},
			{func() { n.Extend(3*time.Second, "draining") }, []string{"EXTEND_TIMEOUT_USEC=3000000", "STATUS=draining"}},
			{func() { n.Forget("x") }, []string{"FDSTOREREMOVE=1", "FDNAME=x"}},
		} {
			step.send()
			if got, fds := receive(t, c); got != strings.Join(step.want, "\n") || len(fds) > 0 {
				t.Errorf("sent %q with %d descriptors, want %q", got, len(fds), step.want)
			}
		}
		n.Reloading()
		got, _ := receive(t, c)
		var usec int64
		if _, err := fmt.Sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=", &usec); err != nil || usec <= 0 {
			t.Errorf("sent %q: %v", got, err)
		}

		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		file.WriteString("held")
		if err := n.Store("x", int(file.Fd())); err != nil {
			t.Fatal(err)
		}
		file.Close()
		got, fds := receive(t, c)
		if got != "FDSTORE=1\nFDPOLL=0\nFDNAME=x" || len(fds) != 1 {
			t.Fatalf("sent %q with %d descriptors", got, len(fds))
		}
		text := make([]byte, 8)
		if k, _ := unix.Pread(fds[0], text, 0); string(text[:k]) != "held" {
			t.Errorf("the descriptor holds %q", text[:k])
		}
		unix.Close(fds[0])
	}
}

func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := NewNotifier()
	if n.Active() || n.Store("x", 0) != nil || n.Forget("x") != nil {
		t.Error("something is sent to nobody")
	}
	n.Ready("")
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := NewNotifier().Store("x", 0); err == nil {
		t.Error("a manager that is gone kept a descriptor")
	}
}

func TestToJournal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	info, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &st); err != nil {
		t.Fatal(err, info)
	}
	for value, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, "": false, "x": false, "1:": false,
	} {
		t.Setenv("JOURNAL_STREAM", value)
		if got := ToJournal(w); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", value, got)
		}
	}
	for name, want := range map[string]string{"error": "<3>", "warn": "<4>", "info": "<6>", "debug": "<7>", "else": "<6>"} {
		if got := Level(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}
