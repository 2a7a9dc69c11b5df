// Command bench measures Sentinel, nginx and HAProxy side by side in one run: the same backend, the same client, one after the
// other in turns, so that what is compared saw the same machine. It prints figures and ratios; absolute times say little about another machine.
//
//	go run ./proxy/bench -sentinel bin/sentinel            # everything
//	go run ./proxy/bench -sentinel bin/sentinel -what plain,tls -bodies 1k -rounds 5 -seconds 5s
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	o := options{}
	flag.StringVar(&o.sentinel, "sentinel", "bin/sentinel", "the sentinel program to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "repetitions; the proxies take turns in each")
	flag.DurationVar(&o.duration, "seconds", 3*time.Second, "counted time of one measurement (a duration)")
	flag.IntVar(&o.connections, "connections", 64, "keep-alive client connections")
	what := flag.String("what", strings.Join(order, ","), "what is measured")
	secureBodies := flag.String("tls-bodies", "1k", "answer sizes to measure over TLS")
	flag.Float64Var(&o.bulk, "bulk-gib", 1, "GiB of one large body")
	bulkBackend := flag.String("bulk-backend", "", "internal: serve large bodies on this address")
	bodies := flag.String("bodies", "0,1k,64k", "answer sizes to measure")
	only := flag.String("only", "sentinel,nginx,haproxy", "proxies to measure")
	flag.Float64Var(&o.rate, "rate", 0, "requests/s of the fixed-rate load; 0 = half of the slowest at full speed")
	flag.IntVar(&o.idle, "idle", 5000, "idle keep-alive connections whose memory is measured")
	flag.StringVar(&o.agent, "agent", "denylist", "agent whose call is measured; \"\" = none")
	rates := flag.String("agent-rates", "1000,0", "requests/s under which the agent is measured; 0 = as fast as it goes")
	flag.StringVar(&o.worker, "worker-of", "", "internal: run one load and print JSON")
	flag.Parse()
	if o.worker != "" {
		os.Exit(runWorker(o.worker))
	}
	if *bulkBackend != "" {
		os.Exit(runBulkBackend(*bulkBackend))
	}
	o.bodies, o.secureBodies, o.what = strings.Split(*bodies, ","), strings.Split(*secureBodies, ","), strings.Split(*what, ",")
	for _, name := range o.what {
		if measurements[name] == nil {
			fmt.Fprintf(os.Stderr, "bench: -what: %q is none of %s\n", name, strings.Join(order, ", "))
			os.Exit(2)
		}
	}
	if o.bulk <= 0 || o.bulk > 64 || o.rounds < 1 {
		fmt.Fprintln(os.Stderr, "bench: -bulk-gib takes up to 64, -rounds 1 or more")
		os.Exit(2)
	}
	for _, r := range strings.Split(*rates, ",") {
		rate, err := strconv.ParseFloat(r, 64)
		if err != nil || rate < 0 {
			fmt.Fprintf(os.Stderr, "bench: -agent-rates: %q is no rate\n", r)
			os.Exit(2)
		}
		o.agentRates = append(o.agentRates, rate)
	}
	o.only = strings.Split(*only, ",")
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
