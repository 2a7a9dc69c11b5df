package run

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier speaks sd_notify(3) to whoever supervises us. The zero value, without a socket, says nothing.
type notifier struct {
	socket   string
	interval time.Duration // between watchdog signs of life; 0 = nobody watches
}

// newNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC and removes them from the environment.
func newNotifier() notifier {
	n := notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.interval = time.Duration(usec) * time.Microsecond / 2
	}
	for _, key := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(key)
	}
	return n
}

// send tells the supervisor state, such as "READY=1". An unreachable supervisor is not our failure.
func (n notifier) send(state string) {
	if n.socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write([]byte(state))
}

// watchdog gives signs of life while alive answers true, until ctx ends.
func (n notifier) watchdog(ctx context.Context, alive func() bool) {
	if n.interval == 0 || n.socket == "" {
		<-ctx.Done()
		return
	}
	t := time.NewTicker(n.interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if alive() {
				n.send("WATCHDOG=1")
			}
		}
	}
}
