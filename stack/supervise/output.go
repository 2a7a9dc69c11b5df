package supervise

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/logs"
)

// stream is where one of the two outputs of an instance goes: a pipe, or a file when the instance is to survive the supervisor.
type stream struct {
	name  string
	pipe  *os.File
	spool *logs.Spool
}

// outputs makes both streams of an instance; the caller closes the descriptors for the process.
func (s *Service) outputs(in *instance) (streams []stream, write []int, err error) {
	for _, name := range []string{"stdout", "stderr"} {
		st, fd := stream{name: name}, -1
		if in.plan.Command.Survives {
			st.spool, fd, err = logs.NewSpool(s.deps.OutputDir, fmt.Sprintf("%s.%d", s.name, in.id), s.name, name)
		} else if st.pipe, fd, err = pipe(); err != nil {
			err = fmt.Errorf("cannot make pipe: %v", err)
		}
		if err != nil {
			for i := range streams {
				streams[i].abandon()
				unix.Close(write[i])
			}
			return nil, nil, err
		}
		streams, write = append(streams, st), append(write, fd)
	}
	return streams, write, nil
}

// read drains the stream in the background.
func (st stream) read(s *Service) <-chan struct{} {
	if st.spool != nil {
		return s.deps.Logs.Tail(st.spool)
	}
	return s.deps.Logs.Attach(s.name, st.name, st.pipe)
}

// abandon is for a stream that no process writes to.
func (st stream) abandon() {
	if st.spool != nil {
		st.spool.Finish()
		st.spool.Close()
	} else {
		st.pipe.Close()
	}
}

// finish is called when no process is left that writes.
func (st stream) finish() {
	if st.spool != nil {
		st.spool.Finish()
	}
}

// pipe returns a pollable read end; the write end blocks, as programs expect of their standard output.
func pipe() (*os.File, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "output"), fds[1], nil
}
