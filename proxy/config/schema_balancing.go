package config

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// simpleAlgorithms have no parameters of their own.
var simpleAlgorithms = []string{"round-robin", "weighted", "least-connections", "weighted-least-connections", "random", "power-of-two-choices", "ip-hash"}

// algorithmSpellings are pairs of an older or shorter name and the algorithm.
var algorithmSpellings = []string{
	"roundrobin", "round-robin", "weighted-round-robin", "weighted", "leastconnections", "least-connections", "least-conn", "least-connections",
	"weighted-least-conn", "weighted-least-connections", "wlc", "weighted-least-connections", "p2c", "power-of-two-choices", "iphash", "ip-hash",
	"consistenthash", "consistent-hash", "ewma", "peak-ewma", "locality", "locality-aware", "subset", "deterministic-subset", "subsetting", "deterministic-subset",
	"localityaware", "locality-aware", "peakewma", "peak-ewma", "leasttokensqueued", "least-tokens-queued", "least-tokens", "least-tokens-queued", "sticky-session", "sticky", "stickysession", "sticky",
}

// algorithm is one of the simple algorithms or of more.
func algorithm(more ...string) *Type {
	t := keyword(slices.Concat(simpleAlgorithms, more)...)
	var spellings []string
	for pair := range slices.Chunk(algorithmSpellings, 2) {
		if slices.Contains(t.Values, pair[1]) {
			spellings = append(spellings, pair...)
		}
	}
	return t.or(spellings...)
}

func balancingSchema() *Key {
	types := algorithm("least-tokens-queued", "consistent-hash", "maglev", "peak-ewma", "adaptive", "locality-aware", "deterministic-subset", "sticky")
	return block("load-balancing", "", "How a target is chosen: load-balancing \"maglev\" { … }. Several proxies know nothing of each other's load; each balances what it gets.",
		value("type", "LoadBalancing", types, "round-robin", "The algorithm."),
		value("slow-start", "Balancing.SlowStart", seconds(0, time.Hour), nil, "A target that has come back or was added gets a tenth of its requests at first, and evenly more until all of them after this time.").unset("all of them at once"),
		value("panic-threshold", "Balancing.PanicThreshold", integer(0, 100), 0, "When a smaller percentage of the targets is healthy, health no longer counts and all get requests, because the few would drown; 0 = an unhealthy target never does. Open circuits stay open."),
		value("hash-key", "Balancing.HashKey", hashKey(), "client-ip", "What places a request: client-ip, path, header:NAME, cookie:NAME or query:NAME. A request without it is placed by its client's address.").only("consistent-hash", "maglev"),
		value("virtual-nodes", "Balancing.VirtualNodes", integer(1, 10_000), 150, "Points on the ring per unit of weight. More make the shares more even and need more memory.").only("consistent-hash"),
		value("load-factor", "Balancing.LoadFactor", integer(0, 10_000), 125, "Percent of its share of the running requests a target may have before requests go to the next one; 0 = any, else above 100.").only("consistent-hash"),
		value("table-size", "Balancing.TableSize", prime(3, 5_000_011), 65_537, "Places of the lookup table: a prime, at least a hundred times the number of targets.").only("maglev"),
		value("bytes-per-token", "Balancing.BytesPerToken", integer(1, 1_000_000), 4, "How long a token is: a request counts as its body's length divided by this until it is answered, at least one; a body without a length counts as 16 KiB.").only("least-tokens-queued"),
		value("tokens-header", "Balancing.TokensHeader", token("field name"), "", "A field of the request that says how many tokens it is, for example set by an agent. What is no number is passed over. Clients can send it too: remove it from theirs unless they may choose.").only("least-tokens-queued").unset("none"),
		value("decay", "Balancing.Decay", seconds(10*time.Millisecond, time.Hour), 10*time.Second, "How long a slow answer is remembered: after this time about a third of it is left.").only("peak-ewma"),
		value("interval", "Balancing.Interval", seconds(100*time.Millisecond, time.Hour), 10*time.Second, "Time between two corrections of the weights.").only("adaptive"),
		value("max-error-percent", "Balancing.MaxErrorPercent", integer(0, 100), 5, "More failures than this in an interval cost a target three tenths of its weight, down to a tenth of what is configured; otherwise it regains a tenth.").only("adaptive"),
		value("max-latency", "Balancing.MaxLatency", millis(time.Millisecond, time.Hour), 500*time.Millisecond, "So does a longer mean time to the head of an answer.").only("adaptive"),
		value("zone", "Balancing.Zone", nonEmpty("name"), "", "Where this proxy is: targets of the same zone are preferred.").only("locality-aware").required(),
		value("min-local-percent", "Balancing.MinLocal", integer(1, 100), 70, "Share of the zone's own targets that must be up for it to keep all requests. With fewer, a part of the requests in proportion goes to other zones.").only("locality-aware"),
		value("subset-size", "Balancing.SubsetSize", integer(1, 10_000), 10, "Targets this proxy uses.").only("deterministic-subset"),
		value("proxy-number", "Balancing.ProxyNumber", integer(0, 1_000_000), 0, "The number of this proxy, counted from 0: it decides which targets those are.").only("deterministic-subset"),
		value("fallback", "Balancing.Fallback", algorithm(), "round-robin", "The algorithm for clients without a cookie, or whose target is gone.").only("sticky"),
		value("cookie-name", "Balancing.Cookie.Name", token("cookie name"), "SERVERID", "The cookie. Its value is a signature that names a target to this proxy and nothing to anybody else.").only("sticky"),
		value("cookie-ttl", "Balancing.Cookie.TTL", seconds(0, 365*day), time.Hour, "How long a browser keeps it; 0 = until it is closed.").only("sticky"),
		value("cookie-path", "Balancing.Cookie.Path", cookiePath(), "/", "The paths a browser sends it for.").only("sticky"),
		value("cookie-secure", "Balancing.Cookie.Secure", boolean(), true, "Browsers send it over HTTPS only.").only("sticky"),
		value("cookie-same-site", "Balancing.Cookie.SameSite", keyword("lax", "strict", "none"), "lax", "Whether browsers send it with requests from other sites.").only("sticky"),
		value("key-file", "Balancing.Cookie.KeyFile", nonEmpty("path"), "", "A file of at least 32 bytes, the key of the signatures, read at every reload. Proxies with the same file know each other's cookies.").only("sticky").
			unset("a random key, kept over reloads until the proxy ends"),
	).argName("type")
}

// hashKey is what a request is placed by; client-ip may be shortened.
func hashKey() *Type {
	return &Type{Name: "hash key", parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType("a hash key", v)
		}
		source, name, named := strings.Cut(v.Str, ":")
		switch plain(source) {
		case "client-ip", "ip":
			if !named {
				return "client-ip", nil
			}
		case "path":
			if !named {
				return "path", nil
			}
		case "header", "cookie":
			if isToken(name) {
				return plain(source) + ":" + name, nil
			}
		case "query":
			if name != "" {
				return "query:" + name, nil
			}
		}
		return nil, fmt.Errorf("%s cannot place a request: write client-ip, path, header:NAME, cookie:NAME or query:NAME", kdl.Quote(v.Str))
	}}
}

// prime is an integer that has no divisors.
func prime(lo, hi int64) *Type {
	t := integer(lo, hi)
	parse := t.parse
	t.parse = func(t *Type, v kdl.Value, unit string) (any, error) {
		n, err := parse(t, v, unit)
		if err == nil && !big.NewInt(n.(int64)).ProbablyPrime(0) {
			return nil, fmt.Errorf("%d is not a prime, so some targets would never reach some places of the table", n)
		}
		return n, err
	}
	return t
}

// cookiePath is the Path attribute of a cookie.
func cookiePath() *Type {
	return text("path", func(s string) error {
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "; ,") {
			return fmt.Errorf("%s cannot be the path of a cookie: it starts with \"/\" and holds no space, comma or semicolon", kdl.Quote(s))
		}
		return noControl(s)
	})
}
