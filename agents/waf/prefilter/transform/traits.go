package transform

// Set is a set of bytes.
type Set [4]uint64

// Add adds a byte.
func (s *Set) Add(c byte) { s[c>>6] |= 1 << (c & 63) }

// Has tells whether a byte is in the set.
func (s *Set) Has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }

// Meets tells whether two sets have a byte in common.
func (s *Set) Meets(o *Set) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

func set(chars string) *Set {
	s := &Set{}
	for i := range len(chars) {
		s.Add(chars[i])
	}
	return s
}

var (
	high         = Set{2: ^uint64(0), 3: ^uint64(0)} // every byte that is not ASCII
	upperCase    = *set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	space        = *set(" \t\n\v\f\r")
	oddSpace     = *set("\t\n\v\f\r")
	shellChars   = *set("\"'\\^,;\t\r\n")
	commentChars = *set("/*<-#")
	winPath      = *set(`\:`)
)

// Traits says of a text which bytes it holds, and which of the pairs that some function looks for.
type Traits struct {
	Bytes       Set
	doubleSpace bool // two blanks
	spaceSlash  bool // a blank before a slash or an opening parenthesis
	comment     bool // the beginning of a comment, /*
	dots        bool // a path that is not in its shortest form
	winDots     bool // a part of a path that ends with a dot or a blank
}

func (t *Traits) has(s *Set) bool { return t.Bytes.Meets(s) }

// paired are the bytes that may be the second of a pair.
var paired = func() (p [256]bool) {
	for _, c := range []byte(" /(.*") {
		p[c] = true
	}
	return p
}()

// Look returns the traits of a text.
func Look(text string) (t Traits) {
	var prev byte
	for i := range len(text) {
		c := text[i]
		t.Bytes[c>>6] |= 1 << (c & 63)
		if paired[c] {
			t.pair(prev, c)
		}
		prev = c
	}
	if text == "" {
		return t
	}
	t.dots = t.dots || text[0] == '.' || text == "/"
	t.winDots = t.winDots || prev == '.' || prev == ' '
	return t
}

func (t *Traits) pair(prev, c byte) {
	switch c {
	case ' ':
		t.doubleSpace = t.doubleSpace || prev == ' '
	case '(':
		t.spaceSlash = t.spaceSlash || prev == ' '
	case '/':
		t.spaceSlash = t.spaceSlash || prev == ' '
		t.winDots = t.winDots || prev == ' ' || prev == '.'
		t.dots = t.dots || prev == '/'
	case '.':
		t.dots = t.dots || prev == '/'
	case '*':
		t.comment = t.comment || prev == '/'
	}
}
