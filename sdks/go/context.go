//go:build wasip1

package sglpolicy

import (
	"math"
	"math/bits"
	"unsafe"

	"sglpolicy/internal/inputs"
)

// Maybe is a number that may not be known.
type Maybe struct {
	Number uint64
	Known  bool
}

// Text is a text of a request that may not be there.
type Text struct {
	Text  string
	Known bool
}

// Bits has a bit for each worker.
type Bits []byte

// Get is the bit of a worker; false beyond the last.
func (bits Bits) Get(worker int) bool {
	return worker>>3 < len(bits) && bits[worker>>3]>>(worker&7)&1 == 1
}

// word has workers 64 × block and the 63 after it.
func (bits Bits) word(block int) uint64 {
	at := 8 * block
	if at+8 <= len(bits) {
		return *(*uint64)(unsafe.Pointer(&bits[at]))
	}
	word := uint64(0)
	for i := at; i < len(bits); i++ {
		word |= uint64(bits[i]) << (8 * (i - at))
	}
	return word
}

// Ints has an integer for each worker, -1 where it is not known.
type Ints []int32

// Get is the number of a worker; -1 where it is not known, and beyond the last.
func (ints Ints) Get(worker int) int32 {
	if worker >= len(ints) {
		return -1
	}
	return ints[worker]
}

// Known is the same, 0 where it is not known.
func (ints Ints) Known(worker int) uint32 { return uint32(max(ints.Get(worker), 0)) }

// Floats has a number for each worker, NaN where it is not known.
type Floats []float32

// Get is the number of a worker; NaN where it is not known, and beyond the last.
func (floats Floats) Get(worker int) float32 {
	if worker >= len(floats) {
		return float32(math.NaN())
	}
	return floats[worker]
}

// Leg says which selection this is.
type Leg uint64

// The legs of a request.
const (
	Single Leg = iota
	Prefill
	Decode
)

// What an element of a message is read as.
type form uint8

const (
	formBits form = iota
	formInts
	formFloats
	formText
	formUint
	formMaybe
	formRate
	formTokens
	formHashes
	formLeg
)

// Places of inputs, in the order of inputs.Names.
const (
	healthy = iota
	excluded
	load
	running
	waiting
	queuedTokens
	kvUsage
	throughput
	latencyEwma
	reportAgeMs
	prefillLoad
	prefillTokens
	uncachedTokens
	tokensInFlight
	pendingCost
	oldestPendingMs
	ttftEwma
	tpotEwma
	loadElsewhere
	prefixMatch
	requestText
	requestTokens
	promptBytes
	promptTokens
	promptTokensExact
	maxTokens
	stream
	route
	session
	clientKey
	prefixHashes
	arrivalRate
	model
	waitedMs
	mayWaitMs
	held
	leg
	random
	nowNs
	inputCount
)

func formOf(place int) form {
	switch place {
	case healthy, excluded:
		return formBits
	case kvUsage, throughput, latencyEwma, pendingCost, ttftEwma, tpotEwma:
		return formFloats
	case requestText, route, session, clientKey, model:
		return formText
	case requestTokens:
		return formTokens
	case prefixHashes:
		return formHashes
	case maxTokens:
		return formMaybe
	case arrivalRate:
		return formRate
	case leg:
		return formLeg
	}
	if place <= prefixMatch {
		return formInts
	}
	return formUint
}

// element is one input of the message that is being read.
type element struct {
	name     string
	form     form
	declared bool
	known    bool
	bytes    []byte
	number   uint64
	rate     float32
}

// Context is one decision. Each input has a method; reading one that Register was not told of panics.
type Context struct {
	workers  int
	elements [inputCount]element
	named    []*element
	order    []*element
	rng      Rng
}

func (ctx *Context) list(names []string) {
	for place, name := range inputs.Names {
		ctx.elements[place] = element{name: name, form: formOf(place)}
	}
	for _, name := range names {
		ctx.order = append(ctx.order, ctx.declare(name))
	}
}

func (ctx *Context) declare(name string) *element {
	for place := range ctx.elements {
		if known := &ctx.elements[place]; known.name == name {
			known.declared = true
			return known
		}
	}
	named := &element{name: name, form: formText, declared: true}
	ctx.named = append(ctx.named, named)
	return named
}

const (
	malformed    = "decision message is malformed"
	columnLength = "a column has not one entry per worker"
)

// read reads a message; says what is wrong, or nothing.
func (ctx *Context) read(message []byte) string {
	r := reader{rest: message}
	var version uint64
	if !r.is(kindArray) {
		if r.kind == kindMap {
			return "the module has no manifest: run sglpolicy/cmd/manifest after each build"
		}
		return malformed
	}
	if r.count != len(ctx.order)+1 {
		return "decision message has not one element per declared input"
	}
	if !r.uint(&version) {
		return malformed
	}
	if version != table.Version {
		return "decision message names another version of the worker table"
	}
	ctx.workers = len(table.Workers)
	for _, e := range ctx.order {
		if fault := e.read(&r, ctx.workers); fault != "" {
			return fault
		}
	}
	if len(r.rest) > 0 {
		return malformed
	}
	return ""
}

func (e *element) read(r *reader, workers int) string {
	switch e.form {
	case formInts, formFloats:
		if !r.bin() {
			return malformed
		}
		e.bytes = r.bytes
		if len(e.bytes) != 4*workers {
			return columnLength
		}
		return ""
	case formBits:
		if !r.bin() {
			return malformed
		}
		e.bytes = r.bytes
		if len(e.bytes) != 0 && len(e.bytes) != (workers+7)/8 {
			return columnLength
		}
		return ""
	case formUint:
		if !r.uint(&e.number) {
			return malformed
		}
		return ""
	}
	return e.readRare(r)
}

func (e *element) readRare(r *reader) string {
	width, read := 1, false
	e.known = e.form == formRate || e.form == formLeg || !r.isNil()
	e.bytes, e.number = nil, 0
	switch {
	case !e.known:
		return ""
	case e.form == formText:
		read = r.is(kindStr)
	case e.form == formRate:
		read = r.float32(&e.rate)
	case e.form == formTokens:
		width, read = 4, r.bin()
	case e.form == formHashes:
		width, read = 8, r.bin()
	default:
		read = r.uint(&e.number)
	}
	if !read {
		return malformed
	}
	if e.form == formLeg && e.number > uint64(Decode) {
		return "unknown leg"
	}
	if e.form == formText || width > 1 {
		e.bytes = r.bytes
	}
	if len(e.bytes)%width != 0 {
		return columnLength
	}
	return ""
}

func (ctx *Context) at(place int) *element {
	e := &ctx.elements[place]
	if !e.declared {
		undeclared(e.name)
	}
	return e
}

func undeclared(name string) {
	panic("the policy reads the input `" + name + "`, which its Manifest does not list")
}

// Numbers of a message as they lie there: loads of wasm need no alignment.
func words[T any](bytes []byte) []T {
	var word T
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&bytes[0])), len(bytes)/int(unsafe.Sizeof(word)))
}

func (ctx *Context) ints(place int) Ints     { return words[int32](ctx.at(place).bytes) }
func (ctx *Context) floats(place int) Floats { return words[float32](ctx.at(place).bytes) }
func (ctx *Context) uint(place int) uint64   { return ctx.at(place).number }
func (ctx *Context) text(place int) Text     { return ctx.at(place).text() }

func (e *element) text() Text {
	return Text{unsafe.String(unsafe.SliceData(e.bytes), len(e.bytes)), e.known}
}

// Workers is the number of workers.
func (ctx *Context) Workers() int { return ctx.workers }

// Healthy and its neighbours are the inputs of workers.
func (ctx *Context) Healthy() Bits           { return ctx.at(healthy).bytes }
func (ctx *Context) Excluded() Bits          { return ctx.at(excluded).bytes }
func (ctx *Context) Load() Ints              { return ctx.ints(load) }
func (ctx *Context) Running() Ints           { return ctx.ints(running) }
func (ctx *Context) Waiting() Ints           { return ctx.ints(waiting) }
func (ctx *Context) QueuedTokens() Ints      { return ctx.ints(queuedTokens) }
func (ctx *Context) KvUsage() Floats         { return ctx.floats(kvUsage) }
func (ctx *Context) Throughput() Floats      { return ctx.floats(throughput) }
func (ctx *Context) LatencyEwma() Floats     { return ctx.floats(latencyEwma) }
func (ctx *Context) ReportAgeMs() Ints       { return ctx.ints(reportAgeMs) }
func (ctx *Context) PrefillLoad() Ints       { return ctx.ints(prefillLoad) }
func (ctx *Context) PrefillTokens() Ints     { return ctx.ints(prefillTokens) }
func (ctx *Context) UncachedTokens() Ints    { return ctx.ints(uncachedTokens) }
func (ctx *Context) TokensInFlight() Ints    { return ctx.ints(tokensInFlight) }
func (ctx *Context) PendingCost() Floats     { return ctx.floats(pendingCost) }
func (ctx *Context) OldestPendingMs() Ints   { return ctx.ints(oldestPendingMs) }
func (ctx *Context) TtftEwma() Floats        { return ctx.floats(ttftEwma) }
func (ctx *Context) TpotEwma() Floats        { return ctx.floats(tpotEwma) }
func (ctx *Context) LoadElsewhere() Ints     { return ctx.ints(loadElsewhere) }
func (ctx *Context) PrefixMatch() Ints       { return ctx.ints(prefixMatch) }
func (ctx *Context) RequestText() Text       { return ctx.text(requestText) }
func (ctx *Context) PromptBytes() uint64     { return ctx.uint(promptBytes) }
func (ctx *Context) PromptTokens() uint64    { return ctx.uint(promptTokens) }
func (ctx *Context) PromptTokensExact() bool { return ctx.uint(promptTokensExact) != 0 }
func (ctx *Context) MaxTokens() Maybe {
	return Maybe{ctx.at(maxTokens).number, ctx.at(maxTokens).known}
}
func (ctx *Context) Stream() bool         { return ctx.uint(stream) != 0 }
func (ctx *Context) Route() Text          { return ctx.text(route) }
func (ctx *Context) Session() Text        { return ctx.text(session) }
func (ctx *Context) ClientKey() Text      { return ctx.text(clientKey) }
func (ctx *Context) ArrivalRate() float32 { return ctx.at(arrivalRate).rate }
func (ctx *Context) Model() Text          { return ctx.text(model) }
func (ctx *Context) WaitedMs() uint64     { return ctx.uint(waitedMs) }
func (ctx *Context) MayWaitMs() uint64    { return ctx.uint(mayWaitMs) }
func (ctx *Context) Held() uint64         { return ctx.uint(held) }
func (ctx *Context) Leg() Leg             { return Leg(ctx.uint(leg)) }
func (ctx *Context) Random() uint64       { return ctx.uint(random) }
func (ctx *Context) NowNs() uint64        { return ctx.uint(nowNs) }

// RequestTokens are the token ids; false where there are none.
func (ctx *Context) RequestTokens() ([]uint32, bool) {
	e := ctx.at(requestTokens)
	return words[uint32](e.bytes), e.known
}

// PrefixHashes are the hashes of the prompt's blocks; false where there are none.
func (ctx *Context) PrefixHashes() ([]uint64, bool) {
	e := ctx.at(prefixHashes)
	return words[uint64](e.bytes), e.known
}

// Input is one with a name of its own, such as "header:x-user".
func (ctx *Context) Input(name string) Text {
	for _, e := range ctx.named {
		if e.name == name {
			return e.text()
		}
	}
	undeclared(name)
	return Text{}
}

// Rng is the generator of this decision; needs the input random.
func (ctx *Context) Rng() *Rng {
	ctx.rng.State = ctx.Random()
	return &ctx.rng
}

// Candidates goes through the workers that may be chosen, ascending: healthy, and not tried before if excluded is
// declared.
func (ctx *Context) Candidates() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for block := 0; 64*block < ctx.workers; block++ {
			for candidates := ctx.candidates(block); candidates != 0; candidates &= candidates - 1 {
				if !yield(64*block + bits.TrailingZeros64(candidates)) {
					return
				}
			}
		}
	}
}

func (ctx *Context) candidates(block int) uint64 {
	inside := ^uint64(0)
	if left := ctx.workers - 64*block; left < 64 {
		inside = 1<<left - 1
	}
	return Bits(ctx.elements[healthy].bytes).word(block) &^ Bits(ctx.elements[excluded].bytes).word(block) & inside
}
