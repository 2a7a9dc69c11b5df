package protocoltest

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Vector is one message of testdata/vectors: a payload and what a correct reader makes of it. The files are for every implementation, so
// they are text: headers "key: value", an empty line, and the payload, as it is (without the last line end) or in hexadecimal digits.
type Vector struct {
	Name     string
	About    string
	Type     protocol.FrameType
	Encoding protocol.Encoding
	Expect   string // ok, malformed (no such message), limit (beyond a bound of the protocol)
	SameAs   string // name of another vector with the same meaning
	Payload  []byte
}

// Vectors reads all vectors; dir is the path of testdata/vectors from the test. None at all ends the test.
func Vectors(tb testing.TB, dir string) []Vector {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no vectors in %s: %v", dir, err)
	}
	var out []Vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		head, body, ok := strings.Cut(string(text), "\n\n")
		if !ok {
			tb.Fatalf("%s: no empty line", file)
		}
		v := Vector{Name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		v.parse(tb, head, strings.TrimSuffix(body, "\n"))
		out = append(out, v)
	}
	return out
}

func (v *Vector) parse(tb testing.TB, head, body string) {
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "about":
			v.About = value
		case "type":
			n, err := strconv.ParseUint(value, 0, 8)
			if err != nil {
				tb.Fatalf("%s: %v", v.Name, err)
			}
			v.Type = protocol.FrameType(n)
		case "encoding":
			v.Encoding = protocol.Encoding(value)
		case "expect":
			v.Expect = value
		case "same-as":
			v.SameAs = value
		case "payload":
			v.Payload = []byte(body)
			if value == "hex" {
				b, err := hex.DecodeString(strings.ReplaceAll(body, "\n", ""))
				if err != nil {
					tb.Fatalf("%s: %v", v.Name, err)
				}
				v.Payload = b
			}
		default:
			tb.Fatalf("%s: unknown header %q", v.Name, key)
		}
	}
	if v.Type == 0 || v.Encoding == "" || v.Expect == "" {
		tb.Fatalf("%s: headers are missing", v.Name)
	}
}
