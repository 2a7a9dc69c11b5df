//go:build !linux

package upstream

// quiet cannot look elsewhere than on Linux: idle connections are taken on trust, and the driver's retry covers the rest.
func quiet(uintptr) bool { return true }

func receiveNow(uintptr, []byte) (n int, again bool, err error) { return 0, true, nil }

func sendNow(uintptr, []byte) {}
