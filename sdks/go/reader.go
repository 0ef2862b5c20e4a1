//go:build wasip1

package sglpolicy

import (
	"math"
	"math/bits"
	"unsafe"
)

type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindUint
	kindInt
	kindFloat
	kindStr
	kindBin
	kindArray
	kindMap
)

// reader reads heads of MessagePack values out of bytes that nobody vouches for. What the last head was is in the
// fields.
type reader struct {
	rest   []byte
	kind   kind
	number uint64 // of a boolean and of integers; negative ones in two's complement
	real   float64
	bytes  []byte // of a text and of bytes
	count  int    // elements of an array, entries of a map
}

func (r *reader) bigEndian(width int) bool {
	if len(r.rest) < width {
		return false
	}
	r.number = 0
	for _, b := range r.rest[:width] {
		r.number = r.number<<8 | uint64(b)
	}
	r.rest = r.rest[width:]
	return true
}

func (r *reader) content(kind kind, length uint64) bool {
	if length > uint64(len(r.rest)) {
		return false
	}
	r.kind, r.bytes, r.rest = kind, r.rest[:length], r.rest[length:]
	return true
}

// elements believes a count if there are bytes for as many elements.
func (r *reader) elements(kind kind, count uint64) bool {
	each := uint64(1)
	if kind == kindMap {
		each = 2
	}
	if count > uint64(len(r.rest))/each {
		return false
	}
	r.kind, r.count = kind, int(count)
	return true
}

func (r *reader) signed(width int) bool {
	if !r.bigEndian(width) {
		return false
	}
	unused := 64 - 8*width
	number := int64(r.number<<unused) >> unused
	r.kind, r.number = kindUint, uint64(number)
	if number < 0 {
		r.kind = kindInt
	}
	return true
}

func (r *reader) float(width int) bool {
	if !r.bigEndian(width) {
		return false
	}
	r.kind, r.real = kindFloat, math.Float64frombits(r.number)
	if width == 4 {
		r.real = float64(math.Float32frombits(uint32(r.number)))
	}
	return true
}

// longHead reads heads that are longer than a byte.
func (r *reader) longHead(marker byte) bool {
	switch {
	case marker == 0xc0:
		r.kind = kindNil
		return true
	case marker == 0xc2 || marker == 0xc3:
		r.kind, r.number = kindBool, uint64(marker&1)
		return true
	case marker >= 0xc4 && marker <= 0xc6:
		return r.bigEndian(1<<(marker-0xc4)) && r.content(kindBin, r.number)
	case marker == 0xca || marker == 0xcb:
		return r.float(4 << (marker - 0xca))
	case marker >= 0xcc && marker <= 0xcf:
		r.kind = kindUint
		return r.bigEndian(1 << (marker - 0xcc))
	case marker >= 0xd0 && marker <= 0xd3:
		return r.signed(1 << (marker - 0xd0))
	case marker >= 0xd9 && marker <= 0xdb:
		return r.bigEndian(1<<(marker-0xd9)) && r.content(kindStr, r.number)
	case marker == 0xdc || marker == 0xdd:
		return r.bigEndian(2<<(marker-0xdc)) && r.elements(kindArray, r.number)
	case marker == 0xde || marker == 0xdf:
		return r.bigEndian(2<<(marker-0xde)) && r.elements(kindMap, r.number)
	}
	return false // extensions: nobody sends any
}

// head reads the head of the next value; elements of arrays and maps follow. False if there is none.
func (r *reader) head() bool {
	if len(r.rest) == 0 {
		return false
	}
	marker := r.rest[0]
	r.rest = r.rest[1:]
	switch {
	case marker < 0x80:
		r.kind, r.number = kindUint, uint64(marker)
		return true
	case marker < 0x90:
		return r.elements(kindMap, uint64(marker&0x0f))
	case marker < 0xa0:
		return r.elements(kindArray, uint64(marker&0x0f))
	case marker < 0xc0:
		return r.content(kindStr, uint64(marker&0x1f))
	case marker >= 0xe0:
		r.kind, r.number = kindInt, uint64(int64(int8(marker)))
		return true
	}
	return r.longHead(marker)
}

func (r *reader) is(kind kind) bool { return r.head() && r.kind == kind }

// skip steps over a value and all that is in it; a loop, so that nesting needs no stack.
func (r *reader) skip() bool {
	for left := uint64(1); left > 0; left-- {
		if !r.head() {
			return false
		}
		switch r.kind {
		case kindArray:
			left += uint64(r.count)
		case kindMap:
			left += 2 * uint64(r.count)
		}
		if left-1 > uint64(len(r.rest)) {
			return false
		}
	}
	return true
}

// raw steps over a value and gives its bytes.
func (r *reader) raw() ([]byte, bool) {
	start := r.rest
	if !r.skip() {
		return nil, false
	}
	return start[:len(start)-len(r.rest)], true
}

// isNil reads nil if it is next.
func (r *reader) isNil() bool {
	if len(r.rest) == 0 || r.rest[0] != 0xc0 {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// bin reads bytes: the two heads that the router writes for columns, then any.
func (r *reader) bin() bool {
	rest := r.rest
	if len(rest) >= 2 && rest[0] == 0xc4 {
		r.rest = rest[2:]
		return r.content(kindBin, uint64(rest[1]))
	}
	if len(rest) >= 3 && rest[0] == 0xc5 {
		r.rest = rest[3:]
		return r.content(kindBin, uint64(rest[1])<<8|uint64(rest[2]))
	}
	return r.is(kindBin)
}

func (r *reader) uint(to *uint64) bool {
	if len(r.rest) >= 9 && r.rest[0] == 0xcf {
		// Loads of wasm need no alignment.
		*to = bits.ReverseBytes64(*(*uint64)(unsafe.Pointer(&r.rest[1])))
		r.rest = r.rest[9:]
		return true
	}
	if !r.is(kindUint) {
		return false
	}
	*to = r.number
	return true
}

func (r *reader) maybe(to *Maybe) bool {
	*to = Maybe{}
	if r.isNil() {
		return true
	}
	to.Known = true
	return r.uint(&to.Number)
}

// asNumber is what was read as a number; false if it is none.
func (r *reader) asNumber() (float64, bool) {
	switch r.kind {
	case kindUint:
		return float64(r.number), true
	case kindInt:
		return float64(int64(r.number)), true
	case kindFloat:
		return r.real, true
	}
	return 0, false
}

func (r *reader) float32(to *float32) bool {
	if !r.head() {
		return false
	}
	number, is := r.asNumber()
	*to = float32(number)
	return is
}

// time reads a number that may not be known, then NaN.
func (r *reader) time(to *float32) bool {
	*to = float32(math.NaN())
	return r.isNil() || r.float32(to)
}

// text is the text that was read, as a view of the message.
func (r *reader) text() string { return unsafe.String(unsafe.SliceData(r.bytes), len(r.bytes)) }
