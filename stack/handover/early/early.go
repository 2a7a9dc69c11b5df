// Package early listens for signals in a program that was executed in place of another one, before main and before most packages are initialised: until somebody listens SIGTERM
// would end everything at once, and the initialisation of the libraries takes some 20 ms. Packages are initialised as soon as their imports are, so this one imports almost nothing.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// Var is set in a program that takes over from the one before it in the same process.
const Var = "SENTINEL_STACK_RESUME"

// Signals holds what came early; nil in a program that takes over from nobody. Besides package shim this is the one package whose initialisation acts.
var Signals = catch()

func catch() chan os.Signal {
	if _, ok := syscall.Getenv(Var); !ok {
		return nil
	}
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	return c
}
