package server_test

import (
	"net/netip"
	"time"
)

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var noDeadline time.Time
