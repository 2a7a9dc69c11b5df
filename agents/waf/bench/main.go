// Command bench measures what the web application firewall costs: the engine with the Core Rule Set as it is, the same with the fast path, and nginx with libmodsecurity on the same rules, in one
// run. It fails when an attack passes, or when the fast path saves less than it is there for.
//
//	go run ./agents/waf/bench -bin bin
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "directory of sentinel and sentinel-waf; \"\" = measure within one process only")
	duration := flag.Duration("seconds", 3*time.Second, "counted time of one measurement (a duration)")
	flag.Parse()
	failed := inProcess(*duration)
	if *bin != "" {
		failed = endToEnd(*bin, *duration) || failed
	}
	if failed {
		os.Exit(1)
	}
}

func fail(format string, args ...any) bool {
	fmt.Printf("FAILED: "+format+"\n", args...)
	return true
}
