package cidr

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

const million = 1_000_000

// millionText returns a million distinct-looking lines, a tenth of them IPv6, as a published list would hold them.
func millionText() []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	var out bytes.Buffer
	for range million {
		out.WriteString(randomListed(rng).String())
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func randomListed(rng *rand.Rand) netip.Prefix {
	if rng.IntN(10) == 0 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b[0], b[1] = 0x2a, b[1]&0x0f
		return netip.PrefixFrom(netip.AddrFrom16(b), 48+16*rng.IntN(2)).Masked()
	}
	n := rng.Uint32()
	return netip.PrefixFrom(addr4(n), 24+rng.IntN(9)).Masked()
}

func loadText(t testing.TB, text []byte) *Set {
	t.Helper()
	var b Builder
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if err := b.AddText(s.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

// probes returns addresses of which half are listed.
func probes() []netip.Addr {
	listed, other := rand.New(rand.NewPCG(7, 7)), rand.New(rand.NewPCG(9, 9))
	addrs := make([]netip.Addr, 1<<16)
	for i := range addrs {
		addrs[i] = randomListed([]*rand.Rand{listed, other}[i%2]).Addr()
	}
	rand.New(rand.NewPCG(3, 3)).Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return addrs
}

// TestMillion holds the set to its budget: a million networks from text in under 3 s, a lookup in under 2 µs without allocation.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a budget is no measure under the race detector")
	}
	text := millionText()
	start := time.Now()
	s := loadText(t, text)
	loaded := time.Since(start)
	addrs := probes()
	var hits int
	start = time.Now()
	for _, a := range addrs {
		if _, ok := s.Lookup(a); ok {
			hits++
		}
	}
	each := time.Since(start) / time.Duration(len(addrs))
	t.Logf("%d networks kept of %d, loaded in %v, %v a lookup, %.1f bytes each, %d of %d probes hit", s.Len(), million, loaded, each, float64(s.Bytes())/float64(s.Len()), hits, len(addrs))
	if loaded > 3*time.Second {
		t.Errorf("loading took %v, budget 3s", loaded)
	}
	if each > 2*time.Microsecond {
		t.Errorf("a lookup took %v, budget 2µs", each)
	}
	if hits == 0 || hits == len(addrs) {
		t.Errorf("%d of %d probes hit: the test does not test both outcomes", hits, len(addrs))
	}
	if n := testing.AllocsPerRun(100, func() { s.Lookup(addrs[0]); s.Lookup(addrs[1]) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func BenchmarkLookupMillion(b *testing.B) {
	s, addrs := loadText(b, millionText()), probes()
	b.ReportMetric(float64(s.Bytes())/float64(s.Len()), "bytes/prefix")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Lookup(addrs[i&(1<<16-1)])
		i++
	}
}

func BenchmarkLoadMillion(b *testing.B) {
	text := millionText()
	for b.Loop() {
		loadText(b, text)
	}
}
