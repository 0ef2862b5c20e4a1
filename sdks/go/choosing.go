//go:build wasip1

package sglpolicy

import (
	"math"
	"math/bits"
	"unsafe"
)

// Mix scrambles 64 bits (the finaliser of SplitMix64).
func Mix(bits uint64) uint64 {
	bits = (bits ^ bits>>30) * 0xbf58476d1ce4e5b9
	bits = (bits ^ bits>>27) * 0x94d049bb133111eb
	return bits ^ bits>>31
}

// Hash is a hash that is the same in every version, and in the SDKs of the other languages.
func Hash(text string) uint64 {
	state := 0x243f6a8885a308d3 ^ uint64(len(text))
	bytes := unsafe.Slice(unsafe.StringData(text), len(text))
	for ; len(bytes) >= 8; bytes = bytes[8:] {
		state = hashStep(state, *(*uint64)(unsafe.Pointer(&bytes[0])))
	}
	word := uint64(0)
	for i := len(bytes) - 1; i >= 0; i-- {
		word = word<<8 | uint64(bytes[i])
	}
	return Mix(hashStep(state, word))
}

func hashStep(state, word uint64) uint64 {
	product := (state ^ word) * 0x9e3779b97f4a7c15
	return product ^ product>>32
}

// Rng is SplitMix64.
type Rng struct{ State uint64 }

// Next gives 64 random bits.
func (rng *Rng) Next() uint64 {
	rng.State += 0x9e3779b97f4a7c15
	return Mix(rng.State)
}

// Below gives a number below a bound.
func (rng *Rng) Below(bound uint32) uint32 {
	high, _ := bits.Mul64(rng.Next()>>32<<32, uint64(bound))
	return uint32(high)
}

// Lowest is the cheapest offer so far; among n equal ones each is kept with chance 1/n.
type Lowest struct {
	rng    *Rng
	cost   float64
	worker int
	ties   uint32
}

// NewLowest has nothing yet.
func NewLowest(rng *Rng) Lowest { return Lowest{rng: rng, cost: math.Inf(1), worker: -1} }

// Offer keeps the worker if it is cheaper. A cost that is infinite or NaN counts as the highest of all, so that
// somebody is chosen while somebody may be.
func (lowest *Lowest) Offer(cost float64, worker int) {
	if cost-cost != 0 {
		cost = math.MaxFloat64
	}
	if cost < lowest.cost {
		lowest.cost, lowest.worker, lowest.ties = cost, worker, 1
	} else if cost == lowest.cost {
		lowest.ties++
		if lowest.rng.Below(lowest.ties) == 0 {
			lowest.worker = worker
		}
	}
}

// Choice is the worker that was kept, or nobody.
func (lowest *Lowest) Choice() Choice {
	if lowest.worker < 0 {
		return Nobody()
	}
	return Worker(lowest.worker)
}
