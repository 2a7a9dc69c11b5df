package cli

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/daemon"
)

// raise sends this process the signals again that came before anybody attended to them.
func raise(early chan os.Signal) {
	if early == nil {
		return
	}
	signal.Stop(early)
	for {
		select {
		case s := <-early:
			if s, ok := s.(unix.Signal); ok {
				unix.Kill(os.Getpid(), s)
			}
		default:
			return
		}
	}
}

// attendEnd gives a context that ends with the first signal to stop and one that ends with the second: then everything is killed that still runs.
func attendEnd(parent context.Context) (ctx, patience context.Context, stop func()) {
	ctx, first := context.WithCancel(parent)
	patience, second := context.WithCancel(context.Background())
	c := make(chan os.Signal, 2) // to the very end of the process: a late signal must not turn an orderly stop into death by a signal
	signal.Notify(c, unix.SIGINT, unix.SIGTERM)
	pipe := make(chan os.Signal, 1) // whoever reads what we print may go away: a failed write, not the end of the stack
	signal.Notify(pipe, unix.SIGPIPE)
	over := make(chan struct{})
	go func() {
		for _, end := range []context.CancelFunc{first, second} {
			select {
			case <-c:
				end()
			case <-over:
				return
			}
		}
	}()
	return ctx, patience, func() {
		signal.Stop(pipe)
		close(over)
		first()
		second()
	}
}

// attendSignals handles those that do not end the stack, and raises what came early.
func attendSignals(ctx context.Context, d *daemon.Daemon, early chan os.Signal) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, unix.SIGHUP, unix.SIGUSR1)
	defer signal.Stop(c)
	raise(early)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c:
			if s == unix.SIGHUP {
				d.Reload(ctx)
			} else {
				d.Reopen(ctx)
			}
		}
	}
}
