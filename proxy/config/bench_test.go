package config

import (
	"fmt"
	"strings"
	"testing"
)

// manyRoutes is a configuration with n routes and n upstreams.
func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString("listeners { listener \"a\" { address \"127.0.0.1:0\" } }\nroutes {\n")
	for i := range n {
		fmt.Fprintf(&b, "    route \"r%d\" {\n        matches { host \"h%d.example.com\"; path-prefix \"/p%d\" \"/q\" }\n        upstream \"u%d\"\n    }\n", i, i, i, i)
	}
	b.WriteString("}\nupstreams {\n")
	for i := range n {
		fmt.Fprintf(&b, "    upstream \"u%d\" { target \"10.0.0.1:80\" }\n", i)
	}
	b.WriteString("}\n")
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			files := &bundle{Format: bundleFormat, Path: "/main.kdl", Files: map[string]string{"/main.kdl": manyRoutes(n)}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := load(files.Path, files, testEnv, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
