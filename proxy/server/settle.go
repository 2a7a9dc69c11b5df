package server

import "runtime"

const (
	burstSize    = 1000 // new connections that are worth settling
	burstTrickle = 25   // so many in a round of the sweeper are a burst that goes on
	settleRounds = 4    // rounds without one before it counts as over
	settleCycles = 3    // a cycle halves a stack that is mostly unused, and pools let go of buffers after two
)

// settling gives back what a burst of new connections left behind. The goroutine of a connection that has served a request needs a stack of 4 KiB while it
// waits, but keeps the 8 KiB that serving took until the collector has looked at it; and when the clients then fall silent there is no garbage, and so no
// collector, for minutes. So the sweeper calls it once after a burst, when it does not compete with the burst itself. Only the sweeper touches it.
type settling struct {
	opened  uint32 // connections so far, as of the last round
	settled uint32 // of them were there when it last settled
	quiet   int    // rounds since a burst went on
}

// over is told every round how many connections were opened so far; it reports whether a burst has just ended.
func (k *settling) over(opened uint32) bool {
	fresh := opened - k.opened
	k.opened = opened
	if fresh >= burstTrickle {
		k.quiet = 0
		return false
	}
	k.quiet++
	if k.quiet < settleRounds || opened-k.settled < burstSize {
		return false
	}
	k.settled = opened
	return true
}

// settle runs the collector; it works beside the connections, and stops them for no longer than any other cycle.
func settle() {
	for range settleCycles {
		runtime.GC()
	}
}
