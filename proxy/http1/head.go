package http1

import (
	"bytes"
	"unsafe"
)

// head is the part of a message head that both sides share: where parsing stands, and the field lines.
//
// Parsing is resumable: when the buffer ends early, the position inside the current line is kept, and the next call goes
// on there. The views would point into old memory if the caller moved the head meanwhile, so a buffer with another start
// begins from the first byte again; a caller that doubles its buffer still pays O(n) in all.
type head struct {
	Fields []Field

	base  *byte // start of the buffer of the last call
	stage stage
	start int    // of the current line or element
	scan  int    // first byte of it not yet looked at
	colon int    // index of ":" in the current field line, 0 = not yet found
	seen  uint64 // bit per FieldID that occurred
	twice uint64 // bit per FieldID that occurred more than once
}

// stage is the element of a start line that is being read.
type stage uint8

const (
	stageStart stage = iota
	stageMethod
	stageTarget
	stageVersion
	stageFields
	stageDone
)

func (h *head) reset() {
	fields := h.Fields[:0]
	*h = head{Fields: fields}
}

// resume reports whether parsing can go on where it stopped in the previous call.
func (h *head) resume(buf []byte) bool {
	base := unsafe.SliceData(buf)
	if h.stage != stageDone && (h.base == base || h.base == nil) {
		h.base = base
		return true
	}
	return false
}

// parseFields reads field lines up to and including the empty line. It returns the index after that, or 0 when more bytes
// are needed.
func (h *head) parseFields(buf []byte, maxFields int, side Side) (int, fault) {
	pos, scan, colon := h.start, h.scan, h.colon
	for {
		if scan == len(buf) {
			break
		}
		if scan == pos {
			if buf[pos] == '\r' {
				if pos+1 == len(buf) {
					break
				}
				if buf[pos+1] != '\n' {
					return 0, bareCR
				}
				return pos + 2, ok
			}
			if len(h.Fields) >= maxFields {
				return 0, tooManyFields
			}
		}
		if colon == 0 {
			for scan < len(buf) && classes[buf[scan]]&classToken != 0 {
				scan++
			}
			if scan == len(buf) {
				break
			}
			if buf[scan] != ':' || scan == pos {
				return 0, nameFault(buf[scan], scan == pos)
			}
			colon = scan
			scan++
		}
		scan = scanValue(buf, scan)
		if scan+1 >= len(buf) && (scan == len(buf) || buf[scan] == '\r') {
			break
		}
		if buf[scan] != '\r' || buf[scan+1] != '\n' {
			return 0, valueFault(buf[scan])
		}
		if f := h.add(buf[pos:colon:colon], trimmed(buf, colon+1, scan), side); f != ok {
			return 0, f
		}
		pos, scan, colon = scan+2, scan+2, 0
	}
	h.start, h.scan, h.colon = pos, scan, colon
	return 0, ok
}

// trimmed returns buf[from:to] without surrounding whitespace.
func trimmed(buf []byte, from, to int) []byte {
	for from < to && (buf[from] == ' ' || buf[from] == '\t') {
		from++
	}
	for from < to && (buf[to-1] == ' ' || buf[to-1] == '\t') {
		to--
	}
	return buf[from:to:to]
}

// nameFault names what is wrong with the first byte of a line that is not part of its name.
func nameFault(c byte, first bool) fault {
	switch {
	case c == '\n':
		return bareLF
	case c == ':':
		return emptyFieldName
	case c == ' ' || c == '\t':
		if first {
			return obsFold
		}
		return spaceBeforeColon
	}
	return badFieldName
}

// add appends one field line.
func (h *head) add(name, value []byte, side Side) fault {
	id := lookupToken(name)
	if id != Unknown {
		h.twice |= h.seen & id.bit()
		h.seen |= id.bit()
	} else if side == FromClient && isAlias(name) {
		return fieldAlias
	}
	if len(h.Fields) < cap(h.Fields) {
		h.Fields = h.Fields[:len(h.Fields)+1]
		f := &h.Fields[len(h.Fields)-1]
		f.Name, f.Value, f.ID, f.Hop = name, value, id, IsHopByHop(id)
		return ok
	}
	h.Fields = append(h.Fields, Field{Name: name, Value: value, ID: id, Hop: IsHopByHop(id)})
	return ok
}

// isAlias reports whether a name is a known one once "_" is read as "-".
func isAlias(name []byte) bool {
	const longest = len("sec-websocket-extensions")
	if len(name) > longest || bytes.IndexByte(name, '_') < 0 {
		return false
	}
	var hyphens [longest]byte
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		hyphens[i] = c
	}
	return lookupToken(hyphens[:len(name)]) != Unknown
}

// Has reports whether a known field occurs.
func (h *head) Has(id FieldID) bool { return h.seen&id.bit() != 0 }

// Get returns the value of the first field line with a known name, nil when there is none.
func (h *head) Get(id FieldID) []byte {
	if h.seen&id.bit() == 0 {
		return nil
	}
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Find returns the value of the first field line with this name in any case.
func (h *head) Find(name string) (value []byte, found bool) {
	for i := range h.Fields {
		if EqualFold(h.Fields[i].Name, name) {
			return h.Fields[i].Value, true
		}
	}
	return nil, false
}
