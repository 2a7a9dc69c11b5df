package script

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encode applies the codings of a Content-Encoding in turn. A coding it does not know leaves the body as it is; "bad" after a name damages what it gave.
func encode(codings, body string) (string, error) {
	for name := range strings.SplitSeq(codings, ", ") {
		name, bad := strings.CutSuffix(name, "-bad")
		var out bytes.Buffer
		var w io.WriteCloser
		switch name {
		case "gzip":
			w = gzip.NewWriter(&out)
		case "deflate":
			w = zlib.NewWriter(&out)
		case "br":
			w = brotli.NewWriter(&out)
		case "zstd":
			z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
			if err != nil {
				return "", err
			}
			w = z
		default:
			continue
		}
		if _, err := io.WriteString(w, body); err != nil {
			return "", err
		}
		if err := w.Close(); err != nil {
			return "", err
		}
		if body = out.String(); bad {
			body = body[:len(body)-2]
		}
	}
	return body, nil
}

// fieldOf is the Content-Encoding that says so.
func fieldOf(codings string) string {
	return "Content-Encoding: " + strings.ReplaceAll(codings, "-bad", "")
}
