package observe

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// IDFormat is the form of request ids.
type IDFormat uint8

// The formats of request ids.
const (
	Tinyflake IDFormat = iota // 11 base58 characters: 3 of the time in seconds, 8 random
	UUID                      // version 4, RFC 9562 §5.4
)

// MaxIDLen is the length of the longest id.
const MaxIDLen = 36

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// ParseIDFormat maps the configuration's word.
func ParseIDFormat(word string) (IDFormat, error) {
	switch word {
	case "tinyflake", "":
		return Tinyflake, nil
	case "uuid":
		return UUID, nil
	}
	return 0, fmt.Errorf("cannot use trace id format %q: want tinyflake or uuid", word)
}

// Append appends a new id to dst. It allocates nothing when dst has room.
//
// A tinyflake's time wraps after 58³ seconds (2¼ days) and its random part has 46.9 bits: two requests of one second meet with a chance of 1 in 10¹⁴. The randomness is
// ChaCha8, seeded by the system, so that ids do not reveal each other; they are names, not secrets.
func (f IDFormat) Append(dst []byte, now time.Time) []byte {
	if f == UUID {
		return appendUUID(dst)
	}
	var id [11]byte
	fill58(id[:3], uint64(now.Unix()))
	fill58(id[3:], rand.Uint64())
	return append(dst, id[:]...)
}

// fill58 writes the lowest digits of n, most significant first.
func fill58(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = base58[n%58]
		n /= 58
	}
}

func appendUUID(dst []byte) []byte {
	hi, lo := rand.Uint64(), rand.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(0b11<<62) | 0b10<<62
	var id [MaxIDLen]byte
	n := 0
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			id[n] = '-'
			n++
		}
		word, shift := hi, 60-4*i
		if i >= 16 {
			word, shift = lo, 60-4*(i-16)
		}
		id[n] = "0123456789abcdef"[word>>shift&15]
		n++
	}
	return append(dst, id[:]...)
}
