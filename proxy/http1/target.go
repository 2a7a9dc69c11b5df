package http1

// Views for targets that leave a part out; never written to.
var (
	rootPath = []byte("/")
	starPath = []byte("*")
)

// parseTarget reads the request target up to the space after it and splits it into path and query.
func (r *Request) parseTarget(buf []byte, maxTarget int) fault {
	i := r.scan
	if !r.HasQuery {
		for i < len(buf) && classes[buf[i]]&classPath != 0 {
			i++
		}
		if i < len(buf) && buf[i] == '?' {
			r.HasQuery = true
			r.colon = i
			i++
		}
	}
	if r.HasQuery {
		for i < len(buf) && classes[buf[i]]&classQuery != 0 {
			i++
		}
	}
	if i-r.start > maxTarget {
		return targetTooLong
	}
	r.scan = i
	if i == len(buf) {
		return ok
	}
	if buf[i] != ' ' || i == r.start {
		return lineFault(buf[i], badTarget)
	}
	r.Target = buf[r.start:i:i]
	r.Path = r.Target
	if r.HasQuery {
		mark := r.colon - r.start
		r.Path, r.Query = r.Target[:mark:mark], r.Target[mark+1:]
		r.colon = 0
	}
	if r.Target[0] != '/' {
		if f := r.finishTarget(); f != ok {
			return f
		}
	}
	r.start, r.scan, r.stage = i+1, i+1, stageVersion
	return ok
}

// finishTarget handles the forms other than origin-form: asterisk-form for OPTIONS, and absolute-form for http and https.
// Authority-form belongs to CONNECT, which is refused.
func (r *Request) finishTarget() fault {
	if string(r.Target) == "*" {
		if r.MethodID != MethodOptions {
			return badTarget
		}
		return ok
	}
	rest := r.Path
	switch {
	case len(rest) > 7 && EqualFold(rest[:7], "http://"):
		rest = rest[7:]
	case len(rest) > 8 && EqualFold(rest[:8], "https://"):
		rest = rest[8:]
	default:
		return badTarget
	}
	end := 0
	for end < len(rest) && rest[end] != '/' {
		end++
	}
	r.authority, r.Path = rest[:end:end], rest[end:]
	if !ValidHost(r.authority) {
		return badTarget
	}
	if len(r.Path) == 0 {
		r.Path = rootPath
		if r.MethodID == MethodOptions && !r.HasQuery { // RFC 9112 §3.2.4
			r.Path = starPath
		}
	}
	return ok
}

// ValidHost reports whether b is a Host value we accept: a name of letters, digits, "-", "." and "_" of at most 255
// bytes, or an IPv6 literal in brackets, with an optional port up to 65535. RFC 3986 would allow more in names
// (percent-encoding, "!$&'()*+,;="), which no real host has and which is used to confuse readers of Host.
func ValidHost(b []byte) bool {
	name, port, found := SplitHost(b)
	if !found || len(name) == 0 || len(name) > 255 || len(port) > 5 {
		return false
	}
	number := 0
	for _, c := range port {
		if classes[c]&classDigit == 0 {
			return false
		}
		number = number*10 + int(c-'0')
	}
	if number > 65535 {
		return false
	}
	if name[0] == '[' {
		return validIPv6(name[1 : len(name)-1])
	}
	last := byte('.')
	for _, c := range name { // no empty label, except after the dot that ends a rooted name
		if classes[c]&classHost == 0 || c == '.' && last == '.' {
			return false
		}
		last = c
	}
	return true
}

// SplitHost splits a Host value into the name, brackets of an IPv6 literal included, and the port, which may be empty.
// It returns false when there is text between "]" and ":" or a bracket is not closed.
func SplitHost(b []byte) (name, port []byte, valid bool) {
	end := 0
	if len(b) > 0 && b[0] == '[' {
		for end < len(b) && b[end] != ']' {
			end++
		}
		if end == len(b) {
			return nil, nil, false
		}
		end++
	} else {
		for end < len(b) && b[end] != ':' {
			end++
		}
	}
	if end == len(b) {
		return b, nil, true
	}
	return b[:end], b[end+1:], b[end] == ':'
}

// validIPv6 checks the form of an IPv6 address without zone: up to eight groups of up to four hexadecimal digits, at most
// one "::", optionally ending in an IPv4 address.
func validIPv6(b []byte) bool {
	groups, digits, gap := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case hexValues[c] <= 15:
			if digits == 0 {
				groups++
			}
			if digits++; digits > 4 {
				return false
			}
		case c == ':' && i+1 < len(b) && b[i+1] == ':':
			if gap {
				return false
			}
			gap, digits = true, 0
			i++
		case c == ':' && digits > 0 && i+1 < len(b):
			digits = 0
		case c == '.' && digits > 0:
			if !validIPv4(b[i-digits:]) {
				return false
			}
			groups++ // an IPv4 address stands for two groups
			return groups == 8 && !gap || groups < 8 && gap
		default:
			return false
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}

// validIPv4 checks four decimal numbers up to 255 without leading zeros.
func validIPv4(b []byte) bool {
	parts, number, digits := 1, 0, 0
	for _, c := range b {
		if c == '.' {
			if digits == 0 {
				return false
			}
			parts, number, digits = parts+1, 0, 0
			continue
		}
		if classes[c]&classDigit == 0 || digits > 0 && number == 0 {
			return false
		}
		number = number*10 + int(c-'0')
		if digits++; number > 255 {
			return false
		}
	}
	return parts == 4 && digits > 0
}

// AppendTarget appends the origin-form (or "*") of the request's target: what is sent to an upstream.
func (r *Request) AppendTarget(dst []byte) []byte {
	dst = append(dst, r.Path...)
	if r.HasQuery {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	return dst
}
