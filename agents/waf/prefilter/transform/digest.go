package transform

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

func length(s string) string { return strconv.Itoa(len(s)) }

func hexEncode(s string) string { return hex.EncodeToString([]byte(s)) }

func sha1Sum(s string) string {
	sum := sha1.Sum([]byte(s)) // rules use it to make names, not secrets
	return string(sum[:])
}

var base64Value = func() (v [256]int16) {
	for i := range v {
		v[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		v[c] = int16(i)
	}
	return v
}()

// base64Decode decodes up to the first character that does not belong there. Ends of lines are passed over.
func base64Decode(s string) string {
	out := make([]byte, 0, len(s)*3/4+3)
	n, x := 0, 0
	for i := range len(s) {
		if s[i] == '\r' || s[i] == '\n' {
			continue
		}
		v := base64Value[s[i]]
		if v < 0 {
			break
		}
		x = x<<6 | int(v)
		if n++; n == 4 {
			out = append(out, byte(x>>16), byte(x>>8), byte(x))
			n, x = 0, 0
		}
	}
	switch n {
	case 2:
		out = append(out, byte(x>>4))
	case 3:
		out = append(out, byte(x>>10), byte(x>>2))
	}
	return string(out)
}
