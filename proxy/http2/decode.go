package http2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// HeaderField is one field of a header block as the decoder keeps it.
type HeaderField = hpack.HeaderField

// Decoder unpacks the header blocks of one connection (RFC 7541): a frame's piece at a time, in order, every block to its end, since all share one table.
type Decoder struct {
	MaxList   int // bytes of the fields of a block, 32 for each included (RFC 9113 §6.5.2)
	MaxFields int

	hp      *hpack.Decoder
	fields  []hpack.HeaderField
	size    int
	packed  int // bytes of the block as it was sent
	frames  int // it came in so many
	tooMany bool
}

// tableSize is the size of the table that we let the peer use: the initial one of the RFC.
const tableSize = 4096

// A block of honest fields does not need more of these than the limits here: what has more is a flood.
const (
	minPacked       = 16 << 10 // bytes of a packed block that are always read
	maxBlockFrames  = 64
	minLongestField = 64 << 10 // of a longer one nothing can be said: the table would be lost
)

// NewDecoder returns a decoder for blocks of at most maxList bytes and maxFields fields.
func NewDecoder(maxList, maxFields int) *Decoder {
	d := &Decoder{MaxList: maxList, MaxFields: maxFields}
	d.hp = hpack.NewDecoder(tableSize, d.emit)
	d.hp.SetMaxStringLength(max(maxList, minLongestField))
	return d
}

// emit takes one field, until the bound is reached.
func (d *Decoder) emit(f hpack.HeaderField) {
	d.size += int(f.Size())
	if d.size > d.MaxList || len(d.fields) >= d.MaxFields+pseudoFields {
		d.tooMany = true
		d.hp.SetEmitEnabled(false)
		return
	}
	d.fields = append(d.fields, f)
}

// pseudoFields are not counted among the fields.
const pseudoFields = 5

// Write unpacks a piece of a block. Every error ends the connection.
func (d *Decoder) Write(piece []byte) *Error {
	d.frames++
	d.packed += len(piece)
	if d.packed > max(2*d.MaxList, minPacked) || d.frames > maxBlockFrames {
		return connectionError(EnhanceYourCalm, "header-flood")
	}
	if _, err := d.hp.Write(piece); err != nil {
		if errors.Is(err, hpack.ErrStringLength) {
			return connectionError(EnhanceYourCalm, "field-too-long")
		}
		return connectionError(CompressionError, "compression")
	}
	return nil
}

// End ends the block. The fields are good until the next Write; tooLarge says that they are not all, because the block is beyond the bounds.
func (d *Decoder) End() (fields []hpack.HeaderField, tooLarge bool, err *Error) {
	if d.hp.Close() != nil {
		return nil, false, connectionError(CompressionError, "compression")
	}
	fields, tooLarge = d.fields, d.tooMany
	d.fields, d.size, d.packed, d.frames, d.tooMany = d.fields[:0], 0, 0, 0, false
	d.hp.SetEmitEnabled(true)
	return fields, tooLarge, nil
}
