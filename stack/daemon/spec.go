package daemon

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/ready"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// umask of services: what they create is not for everybody.
const umask = 0o027

func socketSpec(s plan.Socket) sockets.Spec {
	return sockets.Spec{Name: s.Name, Network: s.Network, Address: s.Address, Kind: s.Kind}
}

// spec makes a service of the plan runnable. All its sockets are held.
func (d *Daemon) spec(s plan.Service, bundle string) (supervise.Spec, error) {
	sig, err := signalNumber(s.StopSignal)
	if err != nil {
		return supervise.Spec{}, fmt.Errorf("service %s: %v", s.Name, err)
	}
	args := s.Args
	if s.Kind == plan.KindProxy {
		args = append(args[:len(args):len(args)], "--config", "bundle:"+bundle)
	}
	c := exec.Command{Name: s.Name, Path: s.Path, Args: args, Env: s.Env, Umask: umask, Survives: s.Survives}
	for _, sock := range s.Sockets {
		held, _, err := d.sockets.Listen(socketSpec(sock))
		if err != nil {
			return supervise.Spec{}, err
		}
		c.Listen = append(c.Listen, exec.Socket{Name: sock.Name, FD: held.FD()})
	}
	if err := d.deliver(&c, s); err != nil {
		return supervise.Spec{}, err
	}
	if err := d.confine(&c, s); err != nil && s.Problem == "" {
		s.Problem = err.Error()
	}
	return supervise.Spec{
		Command: c, Problem: s.Problem, Limits: s.Limits,
		Policy: supervise.Policy{
			Restart: s.Restart.Policy, InitialDelay: s.Restart.InitialDelay, BaseDelay: s.Restart.BaseDelay, MaxDelay: s.Restart.MaxDelay,
			ResetAfter: s.Restart.ResetAfter, QuarantineAfter: s.Restart.QuarantineAfter,
		},
		Stop:     supervise.Stop{Signal: sig, Timeout: s.StopTimeout},
		Ready:    supervise.Readiness{Notify: s.Ready.Notify, Probe: d.probe(s), Again: d.again(s), Timeout: s.Ready.Timeout, RestartHung: s.Kind == plan.KindAgent},
		Overlap:  s.Kind != plan.KindService, // two extra services would fight for one port
		Watchdog: s.Watchdog, WatchdogFromStart: s.OurProgram,
	}, nil
}

func (d *Daemon) probe(s plan.Service) ready.Probe {
	switch r := s.Ready; {
	case r.Handshake != "":
		return ready.Handshake(r.Handshake)
	case r.HTTP != "":
		return ready.HTTP(r.HTTP)
	case r.TCP != "":
		return ready.TCP(r.TCP)
	case len(r.Exec) > 0:
		return ready.Exec(r.Exec, s.Env, d.reaper.Run)
	}
	return nil
}

// again asks one of our own programs whether it serves.
func (d *Daemon) again(s plan.Service) ready.Probe {
	switch {
	case s.Kind == plan.KindProxy:
		return func(ctx context.Context, pid int) error {
			a, err := d.dialAdmin(ctx, d.Plan().AdminSocket, pid)
			if err == nil {
				a.close()
			}
			return err
		}
	case s.Kind == plan.KindAgent:
		return ready.Handshake(s.Sockets[0].Address)
	}
	return nil
}

func signalNumber(name string) (syscall.Signal, error) {
	if name == "" {
		return unix.SIGTERM, nil
	}
	n := strings.ToUpper(name)
	if !strings.HasPrefix(n, "SIG") {
		n = "SIG" + n
	}
	if sig := unix.SignalNum(n); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}
