// Package mmdbtest writes small databases in MaxMind's format for tests: a binary tree over IPv6 addresses, IPv4 at ::/96, records of 24 bits.
package mmdbtest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Record is the data of one network, as nested maps of strings.
type Record map[string]any

// Country returns a record as country databases have it.
func Country(iso string) Record { return Record{"country": Record{"iso_code": iso}} }

// Write writes a database into a new file of a temporary folder and returns its path.
func Write(t testing.TB, networks map[string]Record) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(path, Bytes(t, networks), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// node is a branch of the tree: a child is another node (>= 0), nothing (-1), or data at an offset (<= -2).
type node [2]int

// Bytes returns a database. Networks may not overlap.
func Bytes(t testing.TB, networks map[string]Record) []byte {
	t.Helper()
	tree := []node{{-1, -1}}
	var data []byte
	for _, text := range sortedKeys(networks) {
		prefix := netip.MustParsePrefix(text).Masked()
		bits, addr := prefix.Bits(), prefix.Addr().As16()
		if prefix.Addr().Is4() {
			bits += 96
			addr = [16]byte(append(make([]byte, 12), addr[12:]...))
		}
		at := 0
		for i := range bits {
			side := addr[i/8] >> (7 - i%8) & 1
			if i == bits-1 {
				tree[at][side] = -2 - len(data)
				break
			}
			if tree[at][side] < 0 {
				tree = append(tree, node{-1, -1})
				tree[at][side] = len(tree) - 1
			}
			at = tree[at][side]
		}
		data = appendMap(data, networks[text])
	}
	var out []byte
	for _, n := range tree {
		for _, child := range n {
			value := child
			switch {
			case child == -1:
				value = len(tree)
			case child <= -2:
				value = len(tree) + 16 - 2 - child
			}
			out = append(out, byte(value>>16), byte(value>>8), byte(value))
		}
	}
	out = append(out, make([]byte, 16)...)
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	return appendMap(out, Record{
		"node_count": uint32(len(tree)), "record_size": uint16(24), "ip_version": uint16(6), "database_type": "Test-Country",
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1),
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Types of the data section.
const (
	typeString = 2
	typeUint16 = 5
	typeUint32 = 6
	typeMap    = 7
	typeUint64 = 9
)

func appendMap(b []byte, m Record) []byte {
	b = append(b, byte(typeMap<<5|len(m)))
	for _, key := range sortedKeys(m) {
		b = appendString(b, key)
		switch v := m[key].(type) {
		case string:
			b = appendString(b, v)
		case Record:
			b = appendMap(b, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(append(b, typeUint16<<5|2), v)
		case uint32:
			b = binary.BigEndian.AppendUint32(append(b, typeUint32<<5|4), v)
		case uint64:
			b = binary.BigEndian.AppendUint64(append(b, 8, typeUint64-7), v) // extended type
		}
	}
	return b
}

// appendString takes up to 28 bytes without a longer length.
func appendString(b []byte, s string) []byte {
	if len(s) > 28 {
		panic("text too long for a test database: " + s)
	}
	return append(append(b, byte(typeString<<5|len(s))), s...)
}
