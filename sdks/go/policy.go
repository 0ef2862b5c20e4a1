//go:build wasip1

// Package sglpolicy is for routing policies of sgl-router that are written in Go.
//
//	package main
//
//	import sgl "sglpolicy"
//
//	type first struct{}
//
//	func (first) Init(init *sgl.Init) error { return init.KnownKeys() }
//
//	func (first) Select(ctx *sgl.Context) sgl.Choice {
//		for worker := range ctx.Candidates() {
//			return sgl.Worker(worker)
//		}
//		return sgl.Nobody()
//	}
//
//	func init() {
//		sgl.Register(sgl.Manifest{
//			Name:        "first",
//			Description: "the first worker that may be chosen",
//			Inputs:      []string{"healthy", "excluded"},
//		}, first{})
//	}
//
//	func main() {}
//
// What Register is called with has to be literals: cmd/manifest reads them out of the source and writes them into the
// module. Hooks are exported by an import each, with no name: _ "sglpolicy/hook/pair" and its neighbours.
//
// On the decision path nothing is allocated, and nothing that is read is trusted. Texts and columns of a Context are
// good until Select returns: strings.Clone what you keep.
package sglpolicy

import "sglpolicy/internal/inputs"

// Manifest is what a policy says about itself.
type Manifest struct {
	Name        string
	Description string
	Version     string
	// Inputs are listed by their names of the ABI.
	Inputs []string
	// Serial: one instance, callers queue, so that state in memory is exact.
	Serial bool
}

// Policy is what you write.
type Policy interface {
	// Init reads the configuration; an error refuses the load.
	Init(init *Init) error
	Select(ctx *Context) Choice
}

// TablePolicy hears of worker tables.
type TablePolicy interface {
	OnWorkers(table *Table)
}

// PairPolicy chooses a prefill and a decode worker together; import sglpolicy/hook/pair.
type PairPolicy interface {
	SelectPair(ctx *Context) Choice
}

// FirstTokenPolicy hears of streamed answers that have begun; import sglpolicy/hook/firsttoken.
type FirstTokenPolicy interface {
	OnFirstToken(first FirstToken)
}

// CompletionPolicy hears of requests that ended; import sglpolicy/hook/complete.
type CompletionPolicy interface {
	OnComplete(done Completion)
}

// SessionEndPolicy hears of sessions that are over; import sglpolicy/hook/sessionend.
type SessionEndPolicy interface {
	OnSessionEnd(session string)
}

// StatePolicy hands its state to the next generation; import sglpolicy/hook/state.
type StatePolicy interface {
	SaveState() []byte
	RestoreState(saved []byte)
}

var (
	registered Policy
	ready      bool
	context    Context
	table      Table
)

// Register says what the policy is. Call it once, in init, with literals.
func Register(manifest Manifest, policy Policy) {
	if err := inputs.Check(manifest.Inputs); err != nil {
		panic(err.Error())
	}
	registered = policy
	context.list(manifest.Inputs)
}
