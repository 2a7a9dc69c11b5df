package supervise

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoWallClock: a clock that is set, or jumps by an hour, must not start, end or delay anything. What decides is the time since something of this process, which Go takes from the monotonic clock as long as nobody takes
// the reading off, and what a supervisor leaves to the next is time since the boot. So the packages that decide may not use what makes a time without a monotonic reading.
func TestNoWallClock(t *testing.T) {
	t.Parallel()
	wall := map[string]bool{"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "Round": true, "Truncate": true, "Date": true, "Parse": true, "ParseInLocation": true}
	harmless := map[string]string{ // a file's Truncate; what is shown to people, or asked by them
		"../daemon/lock.go": "Truncate", "../daemon/metrics.go": "UnixMilli", "../daemon/stream.go": "Parse", "../ready/notify.go": "Unix",
	}
	files := 0
	for _, dir := range []string{".", "../daemon", "../reap", "../exec", "../exec/shim", "../ready", "../limits", "../sockets", "../watch"} {
		list, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, file := range list {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			files++
			set := token.NewFileSet()
			tree, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && wall[sel.Sel.Name] && harmless[file] != sel.Sel.Name {
					if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name == "time" || sel.Sel.Name != "Parse" {
						t.Errorf("%s: %s makes a time of the wall clock", set.Position(call.Pos()), sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if files < 40 {
		t.Errorf("only %d files were read", files)
	}
}
