package cidr

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func build(t testing.TB, texts ...string) *Set {
	t.Helper()
	var b Builder
	for _, text := range texts {
		if err := b.AddText([]byte(text)); err != nil {
			t.Fatalf("AddText(%q): %v", text, err)
		}
	}
	return b.Build()
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := build(t, "10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "198.51.100.128/25", "2001:db8::/32", "2001:db8:1::/48", "2a00::1", "::ffff:203.0.113.0/120")
	for _, c := range []struct{ addr, want string }{
		{"10.255.255.255", "10.0.0.0/8"},
		{"10.1.2.3", "10.0.0.0/8"}, // the outermost network is reported
		{"11.0.0.0", ""},
		{"9.255.255.255", ""},
		{"192.0.2.1", "192.0.2.1/32"},
		{"192.0.2.0", ""},
		{"192.0.2.2", ""},
		{"198.51.100.127", ""},
		{"198.51.100.128", "198.51.100.128/25"},
		{"198.51.101.0", ""},
		{"::ffff:10.2.3.4", "10.0.0.0/8"}, // mapped address, plain list
		{"203.0.113.9", "203.0.113.0/24"}, // plain address, mapped list
		{"2001:db8::", "2001:db8::/32"},
		{"2001:db8:1::5", "2001:db8::/32"},
		{"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::/32"},
		{"2001:db9::", ""},
		{"2a00::1", "2a00::1/128"},
		{"2a00::1%eth0", "2a00::1/128"},
		{"2a00::2", ""},
		{"::", ""},
	} {
		p, ok := s.Lookup(netip.MustParseAddr(c.addr))
		if got := p.String(); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("Lookup(%s) = %s, %v; want %q", c.addr, got, ok, c.want)
		}
	}
	if _, ok := s.Lookup(netip.Addr{}); ok {
		t.Error("the zero address was found")
	}
	if _, ok := (&Set{}).Lookup(netip.MustParseAddr("::1")); ok {
		t.Error("an empty set found ::1")
	}
}

func TestEverything(t *testing.T) {
	t.Parallel()
	s := build(t, "0.0.0.0/0", "1.2.3.4", "::/0", "2001::/16")
	if s.Len() != 2 {
		t.Errorf("Len = %d, want 2: what lies inside another network is dropped", s.Len())
	}
	for _, a := range []string{"0.0.0.0", "255.255.255.255", "::", "ffff::1"} {
		if _, ok := s.Lookup(netip.MustParseAddr(a)); !ok {
			t.Errorf("%s not found", a)
		}
	}
	if _, ok := build(t, "::/0").Lookup(netip.MustParseAddr("::ffff:1.2.3.4")); ok {
		t.Error("::/0 matched an IPv4 address")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "::1/129", "fe80::1%eth0", "1.2.3.4/24/24", "example.com", "1.2.3.4 "} {
		if p, err := Parse([]byte(text)); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", text, p)
		}
	}
	var b Builder
	if err := b.Add(netip.Prefix{}); err == nil {
		t.Error("Add accepted the zero prefix")
	}
}

// TestLargeAgainstScan crosses the size from which the index is used.
func TestLargeAgainstScan(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var b Builder
	var all []netip.Prefix
	for range 3 * indexFrom {
		p := randomPrefix(rng)
		all = append(all, p)
		if err := b.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	s := b.Build()
	if s.v4index == nil {
		t.Fatal("the set has no index; the test does not test it")
	}
	for range 500 {
		a := randomAddr(rng)
		if rng.IntN(2) == 0 { // half the probes next to a listed network
			a = all[rng.IntN(len(all))].Masked().Addr()
			switch rng.IntN(3) {
			case 0:
				a = a.Prev()
			case 1:
				a = a.Next()
			}
		}
		check(t, s, all, a)
	}
}

// check compares the set with a scan of the list.
func check(t *testing.T, s *Set, all []netip.Prefix, a netip.Addr) {
	t.Helper()
	if !a.IsValid() {
		return
	}
	var want netip.Prefix
	for _, p := range all {
		if p = p.Masked(); p.Contains(a) && (!want.IsValid() || p.Bits() < want.Bits()) {
			want = p
		}
	}
	got, ok := s.Lookup(a)
	if ok != want.IsValid() || ok && got != want {
		t.Fatalf("Lookup(%s) = %s, %v; scan says %s", a, got, ok, want)
	}
}

func randomAddr(rng *rand.Rand) netip.Addr {
	if rng.IntN(3) == 0 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], 0x20010db800000000|rng.Uint64()>>44)
		binary.BigEndian.PutUint64(b[8:], rng.Uint64())
		return netip.AddrFrom16(b)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], rng.Uint32())
	return netip.AddrFrom4(b)
}

func randomPrefix(rng *rand.Rand) netip.Prefix {
	a := randomAddr(rng)
	bits := a.BitLen() - rng.IntN(a.BitLen()-8)
	if rng.IntN(2) == 0 {
		bits = a.BitLen()
	}
	return netip.PrefixFrom(a, bits)
}

// FuzzLookup builds a set from 18-byte records (family, length, address) and compares it with a scan for one address.
func FuzzLookup(f *testing.F) {
	record := func(text string) []byte {
		p := netip.MustParsePrefix(text)
		a := p.Addr().As16()
		kind := byte(6)
		if p.Addr().Is4() {
			kind = 4
		}
		return append([]byte{kind, byte(p.Bits())}, a[:]...)
	}
	seed := func(addr string, prefixes ...string) {
		a := netip.MustParseAddr(addr).As16()
		var list []byte
		for _, p := range prefixes {
			list = append(list, record(p)...)
		}
		f.Add(list, a[:])
	}
	seed("10.1.2.3", "10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0")
	seed("2001:db8::1", "2001:db8::/32", "::/0", "::ffff:1.2.3.0/120")
	seed("1.2.3.4", "::ffff:1.2.3.0/120", "::ffff:0.0.0.0/95")
	seed("255.255.255.255", "255.255.255.255/32", "128.0.0.0/1")
	f.Fuzz(func(t *testing.T, list, raw []byte) {
		if len(raw) != 16 || len(list) > 18*64 {
			return
		}
		var b Builder
		var all []netip.Prefix
		for ; len(list) >= 18; list = list[18:] {
			a := netip.AddrFrom16([16]byte(list[2:18]))
			if list[0] == 4 {
				a = a.Unmap()
			}
			p := netip.PrefixFrom(a, int(list[1])%(a.BitLen()+1))
			if err := b.Add(p); err != nil {
				t.Fatalf("Add(%s): %v", p, err)
			}
			if a.Is4In6() && p.Bits() >= 96 {
				p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
			}
			all = append(all, p)
		}
		check(t, b.Build(), all, netip.AddrFrom16([16]byte(raw)).Unmap())
	})
}
