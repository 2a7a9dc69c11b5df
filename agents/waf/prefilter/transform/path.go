package transform

import (
	"path"
	"strings"
)

func normalizePath(s string) string {
	if s == "" {
		return s
	}
	clean := path.Clean(s)
	if clean == "." {
		return ""
	}
	if s[len(s)-1] == '/' {
		return clean + "/"
	}
	return clean
}

// normalizePathWin resolves a path as Windows would: backslashes, streams of files, dots and blanks at the end of names.
func normalizePathWin(s string) string {
	if s == "" {
		return s
	}
	return trimNames(cutStream(normalizePath(strings.ReplaceAll(s, `\`, "/"))))
}

// cutStream takes the name of an alternate data stream off the last name.
func cutStream(s string) string {
	drive, tail := "", ""
	if len(s) >= 2 && s[1] == ':' && (s[0]|0x20) >= 'a' && (s[0]|0x20) <= 'z' {
		drive, s = s[:2], s[2:]
	}
	if strings.HasSuffix(s, "/") {
		s, tail = s[:len(s)-1], "/"
	}
	last := strings.LastIndexByte(s, '/') + 1
	if colon := strings.IndexByte(s[last:], ':'); colon >= 0 {
		s = s[:last+colon]
	}
	return drive + s + tail
}

// trimNames takes dots and blanks off the end of each name but those of dots only.
func trimNames(s string) string {
	names := strings.Split(s, "/")
	change := false
	for _, n := range names {
		change = change || trimmable(n)
	}
	if !change {
		return s
	}
	kept := names[:0]
	for _, n := range names {
		if trimmable(n) {
			if n = strings.TrimRight(n, ". "); n == "" {
				continue
			}
		}
		kept = append(kept, n)
	}
	return strings.Join(kept, "/")
}

func trimmable(name string) bool {
	return strings.Trim(name, ".") != "" && strings.ContainsRune(". ", rune(name[len(name)-1]))
}
