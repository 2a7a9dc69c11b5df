package main

import "testing"

func TestPageText(t *testing.T) {
	t.Parallel()
	in := "# Title\n\ntext [here](../x.md) and [there](https://x.test/)\n\n## Syntax\n\n| key | default |\n|---|--:|\n| `a` | 1 |\n| `b\\|c` |  |\n\n```kdl\n# kept | kept\n| kept |\n```\n"
	want := "text here and [there](https://x.test/)\n\n### Syntax\n\n* `a` · 1\n\n* `b|c`\n\n\n```kdl\n# kept | kept\n| kept |\n```"
	if got := pageText(in); got != want {
		t.Errorf("got %q", got)
	}
}
