package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"time"
)

// TrialCommand is the subcommand that reads a state and answers whether it could take over.
const TrialCommand = "upgrade-check"

// trialTimeout bounds it.
const trialTimeout = 20 * time.Second

// Answer is what a program says that could take over.
type Answer struct {
	Format  int    `json:"format"`
	Version string `json:"version"`
}

// Try runs the program at path on the state without handing anything over, and returns its version. run starts the command and waits for it.
func Try(ctx context.Context, path string, s *State, run func(*osexec.Cmd) error) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	f, err := s.MemoryFile()
	if err != nil {
		return "", err
	}
	defer f.Close()
	var out, complaint strings.Builder
	cmd := osexec.CommandContext(ctx, path, TrialCommand)
	cmd.Env = append(os.Environ(), variable(3, -1))
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = []*os.File{f}, &out, &complaint, time.Second
	if err := run(cmd); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("%s does not answer within %v", path, trialTimeout)
		}
		if text := strings.TrimSpace(complaint.String()); text != "" {
			return "", fmt.Errorf("%s cannot take over: %s", path, text[:min(len(text), 2000)])
		}
		return "", fmt.Errorf("%s cannot take over: %v", path, err)
	}
	var a Answer
	if json.Unmarshal([]byte(out.String()), &a) != nil || a.Format == 0 {
		return "", fmt.Errorf("%s is no sentinel-stack that can take over", path)
	}
	if a.Format != s.Format {
		return "", errors.New("it reads another format of the state")
	}
	return a.Version, nil
}
