//go:build wasip1

package sglpolicy

import (
	"math"
	"unsafe"
)

type answer uint8

const (
	nobody answer = iota
	oneWorker
	bothWorkers
	waits
	sheds
	failed
)

// Choice is what a policy answers.
type Choice struct {
	is            answer
	tagged, costs bool
	first, second int
	tag           uint64
	cost, decode  float32
	key           float64
	ms            uint64
	text          string
	scores        []float32
}

// Worker chooses the worker of that index.
func Worker(worker int) Choice { return Choice{is: oneWorker, first: worker} }

// Pair chooses both halves; an answer of SelectPair.
func Pair(prefill, decode int) Choice { return Choice{is: bothWorkers, first: prefill, second: decode} }

// Nobody is chosen, because nobody may be.
func Nobody() Choice { return Choice{is: nobody} }

// Wait has the router hold the request and ask again, smallest key first.
func Wait(key float64, deadlineMs uint64) Choice { return Choice{is: waits, key: key, ms: deadlineMs} }

// Shed has the router refuse the request.
func Shed(retryAfterMs uint64) Choice { return Choice{is: sheds, ms: retryAfterMs} }

// Failed says that the policy could not decide, with a sentence for the operator.
func Failed(why string) Choice { return Choice{is: failed, text: why} }

// WithTag gives the policy's own name for the request, which comes back with events.
func (choice Choice) WithTag(tag uint64) Choice {
	choice.tagged, choice.tag = true, tag
	return choice
}

// WithCost says what the request costs its worker until its first token: from 0 to 2³⁶.
func (choice Choice) WithCost(cost float32) Choice {
	choice.costs, choice.cost = true, cost
	return choice
}

// WithCosts says the same of both halves of a pair.
func (choice Choice) WithCosts(prefill, decode float32) Choice {
	choice.costs, choice.cost, choice.decode = true, prefill, decode
	return choice
}

// WithReason says why, for decision records.
func (choice Choice) WithReason(reason string) Choice {
	if choice.is != failed {
		choice.text = reason
	}
	return choice
}

// WithScores gives a score of each worker, for decision records.
func (choice Choice) WithScores(scores []float32) Choice {
	choice.scores = scores
	return choice
}

// out is where answers stay until the next call.
var out = make([]byte, 0, 128)

func answered() uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(out))))<<32 | uint64(len(out))
}

func put(bytes ...byte) { out = append(out, bytes...) }

func putBigEndian(marker byte, value uint64, width int) {
	out = append(out, marker)
	for width--; width >= 0; width-- {
		out = append(out, byte(value>>(8*width)))
	}
}

func putUint(value uint64) {
	switch {
	case value < 0x80:
		out = append(out, byte(value))
	case value <= math.MaxUint8:
		putBigEndian(0xcc, value, 1)
	case value <= math.MaxUint16:
		putBigEndian(0xcd, value, 2)
	case value <= math.MaxUint32:
		putBigEndian(0xce, value, 4)
	default:
		putBigEndian(0xcf, value, 8)
	}
}

func putHead(marker8 byte, length int) {
	switch {
	case length <= math.MaxUint8:
		putBigEndian(marker8, uint64(length), 1)
	case length <= math.MaxUint16:
		putBigEndian(marker8+1, uint64(length), 2)
	default:
		putBigEndian(marker8+2, uint64(length), 4)
	}
}

func putText(text string) {
	putHead(0xd9, len(text))
	out = append(out, text...)
}

func putCost(key string, cost float32) {
	putText(key)
	putBigEndian(0xca, uint64(math.Float32bits(cost)), 4)
}

func answerError(why string) uint64 {
	out = append(out[:0], 0x81)
	putText("error")
	putText(why)
	return answered()
}

// answerMap is the answer as a map of what it has.
func (choice *Choice) answerMap(pair bool) uint64 {
	if choice.is == failed {
		return answerError(choice.text)
	}
	keys := byte(0)
	key := func(name string) {
		keys++
		putText(name)
	}
	out = append(out[:0], 0x80)
	switch choice.is {
	case oneWorker:
		key("selected_worker")
		putUint(uint64(choice.first))
	case bothWorkers:
		key("prefill")
		putUint(uint64(choice.first))
		key("decode")
		putUint(uint64(choice.second))
	case waits:
		key("wait")
		put(0x82)
		putText("key")
		putBigEndian(0xcb, math.Float64bits(choice.key), 8)
		putText("deadline_ms")
		putUint(choice.ms)
	case sheds:
		key("shed")
		put(0x81)
		putText("retry_after_ms")
		putUint(choice.ms)
	}
	if len(choice.scores) > 0 && !pair {
		key("scores")
		putHead(0xc4, 4*len(choice.scores))
		out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&choice.scores[0])), 4*len(choice.scores))...)
	}
	if choice.text != "" {
		key("reason")
		putText(choice.text)
	}
	if choice.tagged {
		key("tag")
		putUint(choice.tag)
	}
	if choice.costs {
		keys++
		putCost("cost", choice.cost)
		if pair {
			keys++
			putCost("decode_cost", choice.decode)
		}
	}
	out[0] |= keys
	return answered()
}

func (choice *Choice) answer() uint64 {
	if choice.is > oneWorker || choice.text != "" || len(choice.scores) > 0 {
		if choice.is == bothWorkers {
			return answerError("Select answered with a pair; answer with a worker")
		}
		return choice.answerMap(false)
	}
	out = out[:0]
	switch {
	case choice.is == nobody:
		put(0xc0)
	case choice.tagged || choice.costs:
		put(0x93)
		putUint(uint64(choice.first))
		if choice.tagged {
			putUint(choice.tag)
		} else {
			put(0xc0)
		}
		putBigEndian(0xca, uint64(math.Float32bits(choice.cost)), 4)
	default:
		putUint(uint64(choice.first))
	}
	return answered()
}

func (choice *Choice) answerPair() uint64 {
	if choice.is == oneWorker {
		return answerError("SelectPair answered with one worker; answer with Pair")
	}
	if choice.is > bothWorkers || choice.text != "" || choice.tagged || choice.costs {
		return choice.answerMap(true)
	}
	out = out[:0]
	if choice.is == nobody {
		put(0xc0)
	} else {
		put(0x92)
		putUint(uint64(choice.first))
		putUint(uint64(choice.second))
	}
	return answered()
}
