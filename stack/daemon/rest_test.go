package daemon

import "testing"

// TestOwnPages: a program that runs has pages of its own file, and no two mappings overlap.
func TestOwnPages(t *testing.T) {
	pages := ownPages()
	if len(pages) == 0 {
		t.Fatal("this program has no pages")
	}
	for i, m := range pages {
		if m.start >= m.end || i > 0 && m.start < pages[i-1].end {
			t.Errorf("%x to %x", m.start, m.end)
		}
	}
	for _, wrong := range []string{"", "-", "400000", "x-y", "ffffffffffffffff0-1"} {
		if m := parseRange(wrong); m != (mapping{}) {
			t.Errorf("%q gives %v", wrong, m)
		}
	}
}
