package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is what is supervised: "MODE:FILE[:ADDRESS]". Its first act is a line in FILE with its number and the time.
func child(mode string) {
	began := monotonic()
	parts := strings.SplitN(mode, ":", 3)
	note, err := os.OpenFile(parts[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(note, "%d %d\n", os.Getpid(), began)
	switch parts[0] {
	case "crash":
		os.Exit(1)
	case "flood":
		go pour(note)
	case "serve":
		serve(parts[2])
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
}

// monotonic is a time that all processes of this machine have in common, in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

func serve(address string) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	}()
}

// pour writes lines to standard output without end, and every tenth of a second to note how much, and what the longest write was, in nanoseconds.
func pour(note *os.File) {
	line := strings.Repeat("x", 99) + "\n"
	chunk := []byte(strings.Repeat(line, 640)) // 64,000 bytes
	var total, longest int64
	last := monotonic()
	w := bufio.NewWriterSize(os.Stdout, 1)
	for {
		began := monotonic()
		n, err := w.Write(chunk)
		now := monotonic()
		total += int64(n)
		longest = max(longest, now-began)
		if err != nil {
			fmt.Fprintf(note, "error %v\n", err)
			return
		}
		if now-last >= int64(100*time.Millisecond) {
			last = now
			fmt.Fprintf(note, "wrote %d %d %d\n", now, total, longest)
		}
	}
}
