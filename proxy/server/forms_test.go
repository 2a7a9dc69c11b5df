package server_test

import (
	"net/netip"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

func mustSource(s string) config.Source { return config.Source{Prefix: netip.MustParsePrefix(s)} }

var noDeadline time.Time
