package http1

// chunkState is the element of the chunked coding that is read next (RFC 9112 §7.1).
type chunkState uint8

const (
	chunkSizeDigits chunkState = iota
	chunkExtName               // at the first byte of a name
	chunkExtNameMore
	chunkExtValue // at the first byte of a value
	chunkExtToken
	chunkExtQuoted
	chunkExtEscape
	chunkExtEnd // after a quoted string
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailers
)

// maxChunkDigits leaves room for any int64 and for some leading zeros, but not for unlimited ones.
const maxChunkDigits = 16

// maxChunkOverhead bounds what a body may waste on extensions: each chunk pays for 16 bytes of them plus its own size,
// so that a body of tiny chunks with long extensions cannot make us read without end.
const maxChunkOverhead = 16 << 10

// nextChunk decodes up to the end of the first piece of data.
func (b *Body) nextChunk(src []byte) (consumed int, data []byte, f fault) {
	i := 0
	for i < len(src) {
		switch b.state {
		case chunkData:
			n := len(src) - i
			if int64(n) >= b.remaining {
				n = int(b.remaining)
				b.state = chunkDataCR
			}
			b.remaining -= int64(n)
			return i + n, src[i : i+n : i+n], ok
		case chunkTrailers:
			n, f := b.readTrailers(src[i:])
			return i + n, nil, f
		}
		if f := b.chunkByte(src[i]); f != ok {
			return i, nil, f
		}
		i++
	}
	return i, nil, ok
}

// chunkByte takes one byte of the framing between pieces of data.
func (b *Body) chunkByte(c byte) fault {
	switch b.state {
	case chunkSizeDigits:
		return b.sizeByte(c)
	case chunkSizeLF:
		if c != '\n' {
			return bareCR
		}
		return b.endSize()
	case chunkDataCR:
		if c != '\r' {
			return chunkEnd
		}
		b.state = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return chunkEnd
		}
		b.state = chunkSizeDigits
	default:
		return b.extensionByte(c)
	}
	return ok
}

func (b *Body) sizeByte(c byte) fault {
	if v := hexValues[c]; v <= 15 {
		if b.digits++; b.digits > maxChunkDigits || b.remaining > (1<<63-1)>>4 {
			return chunkSize
		}
		b.remaining = b.remaining<<4 | int64(v)
		return ok
	}
	if b.digits == 0 {
		return chunkSize
	}
	switch c {
	case '\r':
		b.state = chunkSizeLF
	case ';':
		b.state = chunkExtName
		b.extension = 1
	case '\n':
		return bareLF
	default:
		return chunkSize
	}
	return ok
}

// extensionByte checks `*( ";" name [ "=" ( token / quoted-string ) ] )`. The whitespace RFC 9112 lets recipients
// tolerate around ";" and "=" is refused: nobody sends it, and readers disagree about it.
func (b *Body) extensionByte(c byte) fault {
	if b.extension++; b.extension > b.limits.chunkExtBytes() {
		return chunkExtTooLarge
	}
	token := classes[c]&classToken != 0
	switch b.state {
	case chunkExtName, chunkExtValue:
		switch {
		case token:
			b.state++ // chunkExtNameMore, chunkExtToken
		case c == '"' && b.state == chunkExtValue:
			b.state = chunkExtQuoted
		default:
			return extensionFault(c)
		}
		return ok
	case chunkExtQuoted:
		switch {
		case c == '"':
			b.state = chunkExtEnd
		case c == '\\':
			b.state = chunkExtEscape
		case c < 0x20 && c != '\t' || c == 0x7f:
			return extensionFault(c)
		}
		return ok
	case chunkExtEscape:
		if c < 0x20 && c != '\t' || c == 0x7f {
			return extensionFault(c)
		}
		b.state = chunkExtQuoted
		return ok
	case chunkExtNameMore, chunkExtToken:
		if token {
			return ok
		}
		if c == '=' && b.state == chunkExtNameMore {
			b.state = chunkExtValue
			return ok
		}
	}
	switch c {
	case '\r':
		b.state = chunkSizeLF
	case ';':
		b.state = chunkExtName
	default:
		return extensionFault(c)
	}
	return ok
}

func extensionFault(c byte) fault {
	if c == '\n' {
		return bareLF
	}
	return chunkExtension
}

// endSize is called at the end of a size line.
func (b *Body) endSize() fault {
	size := b.remaining
	b.overhead += int64(b.extension)
	if paid := size + 16; b.overhead > paid && size < maxChunkOverhead {
		b.overhead -= paid
	} else {
		b.overhead = 0
	}
	if b.overhead > maxChunkOverhead {
		return chunkExtTooLarge
	}
	b.digits, b.extension = 0, 0
	b.state = chunkData
	if size == 0 {
		b.state = chunkTrailers
	}
	return ok
}
