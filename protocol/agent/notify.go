package agent

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier talks to the supervisor by systemd's notification protocol. The zero notifier has nobody to talk to.
type notifier struct {
	path     string
	watchdog time.Duration // 0 = not asked for
}

func newNotifier(getenv func(string) string) notifier {
	n := notifier{path: getenv("NOTIFY_SOCKET")}
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n
}

// send sends one state such as "READY=1". A supervisor that does not listen is its own problem.
func (n notifier) send(state string) {
	if n.path == "" {
		return
	}
	name := n.path
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(state))
}
