package http1

import "strconv"

// AppendRequestLine appends "METHOD target HTTP/1.1" and CRLF. The arguments come from a parsed Request or have been
// checked with ValidToken and the like; nothing is checked here.
func AppendRequestLine(dst, method, target []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendRequestLineOf appends the request line under which r is forwarded: its method, the origin-form of its target and
// HTTP/1.1.
func AppendRequestLineOf(dst []byte, r *Request) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = r.AppendTarget(dst)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatusLine appends the status line, CRLF included, with the standard reason phrase.
func AppendStatusLine(dst []byte, status int) []byte {
	if status == 200 {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	dst = appendStatusCode(dst, status)
	dst = append(dst, StatusText(status)...)
	return append(dst, '\r', '\n')
}

// AppendStatusLineReason is AppendStatusLine with the reason phrase of an upstream.
func AppendStatusLineReason(dst []byte, status int, reason []byte) []byte {
	dst = appendStatusCode(dst, status)
	dst = append(dst, reason...)
	return append(dst, '\r', '\n')
}

func appendStatusCode(dst []byte, status int) []byte {
	return append(dst, 'H', 'T', 'T', 'P', '/', '1', '.', '1', ' ',
		'0'+byte(status/100%10), '0'+byte(status/10%10), '0'+byte(status%10), ' ')
}

// AppendField appends one field line, CRLF included. A value from outside must have passed ValidFieldValue.
func AppendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// AppendFieldString is AppendField for strings.
func AppendFieldString(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// AppendFieldInt appends a field line with a decimal number.
func AppendFieldInt(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// AppendEndToEnd appends the fields that may be forwarded, that is, those without Hop, CRLF after each and no empty line
// at the end.
func AppendEndToEnd(dst []byte, fields []Field) []byte {
	for i := range fields {
		if !fields[i].Hop {
			dst = AppendField(dst, fields[i].Name, fields[i].Value)
		}
	}
	return dst
}

// AppendChunkHeader appends the size line of a chunk of n bytes, n > 0. After the data follows CRLF.
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, '\r', '\n')
}

// AppendChunk appends a whole chunk; nothing for empty data, since an empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHeader(dst, len(data))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the last chunk, the trailers that may be forwarded, and the empty line.
func AppendLastChunk(dst []byte, trailers []Field) []byte {
	dst = append(dst, '0', '\r', '\n')
	dst = AppendEndToEnd(dst, trailers)
	return append(dst, '\r', '\n')
}
