package script

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/names"
)

// names runs a name server.
//
//	names start                     at $DNS
//	names set NAME TYPE [RECORD]... what it answers, as in a zone file; nothing = the name has none
//	names asked >= N                how often it was asked
func (c call) names(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "start":
		s, err := names.Run()
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.nameServers = append(c.nameServers, s)
		c.vars["DNS"] = s.Addr
		c.mu.Unlock()
		c.setenv("DNS", s.Addr)
		return nil
	case len(c.nameServers) == 0:
		return usage("names start comes first")
	case len(args) >= 3 && args[0] == "set":
		c.nameServers[0].Set(args[1], args[2], args[3:]...)
		return nil
	case len(args) == 3 && args[0] == "asked" && args[1] == ">=":
		var n int64
		if _, err := fmt.Sscan(args[2], &n); err != nil {
			return usage(err.Error())
		}
		if got := c.nameServers[0].Asked(); got < n {
			return fmt.Errorf("it was asked %d times", got)
		}
		return nil
	}
	return usage("names start | names set NAME TYPE [RECORD]... | names asked >= N")
}
