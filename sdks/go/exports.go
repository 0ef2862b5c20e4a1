//go:build wasip1

package sglpolicy

import "unsafe"

// The host's buffer: kept, so that the collector does not take it.
var buffers = map[uint32][]byte{}

//go:wasmexport alloc
func alloc(size uint32) uint32 {
	if size > 1<<30 {
		return 0
	}
	buffer := make([]byte, max(size, 1))
	at := uint32(uintptr(unsafe.Pointer(&buffer[0])))
	buffers[at] = buffer
	return at
}

//go:wasmexport dealloc
func dealloc(at, size uint32) { delete(buffers, at) }

// message is what the host wrote.
func message(at, length uint32) []byte {
	if length == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(at))), length)
}

//go:wasmexport init
func initialize(at, length uint32) uint64 {
	defer reportPanic()
	told := Init{}
	ready = false
	if registered == nil {
		return answerError("the policy calls sglpolicy.Register nowhere")
	}
	if !told.read(message(at, length)) {
		return answerError("init message is malformed")
	}
	if err := registered.Init(&told); err != nil {
		return answerError(err.Error())
	}
	ready = true
	return 0
}

const notReady = "the plugin decides before `init` succeeded"

//go:wasmexport select_worker
func selectWorker(at, length uint32) uint64 {
	defer reportPanic()
	if !ready {
		return answerError(notReady)
	}
	if fault := context.read(message(at, length)); fault != "" {
		return answerError(fault)
	}
	choice := registered.Select(&context)
	return choice.answer()
}

//go:wasmexport on_workers
func onWorkers(at, length uint32) {
	defer reportPanic()
	// Decisions that name the table that was not read are refused.
	if !table.replace(message(at, length)) {
		Log(Error, "worker table message is malformed")
		return
	}
	if listener, hears := registered.(TablePolicy); hears && ready {
		listener.OnWorkers(&table)
	}
}

// SelectPair is what sglpolicy/hook/pair exports.
func SelectPair(at, length uint32) uint64 {
	defer reportPanic()
	chooser, chooses := registered.(PairPolicy)
	if !chooses {
		return answerError("the policy imports sglpolicy/hook/pair and has no SelectPair")
	}
	if !ready {
		return answerError(notReady)
	}
	if fault := context.read(message(at, length)); fault != "" {
		return answerError(fault)
	}
	choice := chooser.SelectPair(&context)
	return choice.answerPair()
}

// OnFirstToken is what sglpolicy/hook/firsttoken exports.
func OnFirstToken(at, length uint32) {
	defer reportPanic()
	listener, hears := registered.(FirstTokenPolicy)
	if !hears || !ready {
		return
	}
	r := reader{rest: message(at, length)}
	first := FirstToken{}
	for left := openBatch(&r); left > 0 && first.read(&r); left-- {
		listener.OnFirstToken(first)
	}
}

// OnComplete is what sglpolicy/hook/complete exports.
func OnComplete(at, length uint32) {
	defer reportPanic()
	listener, hears := registered.(CompletionPolicy)
	if !hears || !ready {
		return
	}
	r := reader{rest: message(at, length)}
	done := Completion{}
	for left := openBatch(&r); left > 0 && done.read(&r); left-- {
		listener.OnComplete(done)
	}
}

// OnSessionEnd is what sglpolicy/hook/sessionend exports.
func OnSessionEnd(at, length uint32) {
	defer reportPanic()
	listener, hears := registered.(SessionEndPolicy)
	r := reader{rest: message(at, length)}
	if !hears || !ready || !r.is(kindArray) || r.count < 1 || !r.is(kindArray) {
		return
	}
	for left := r.count; left > 0 && r.is(kindStr); left-- {
		listener.OnSessionEnd(string(r.bytes))
	}
}

// saved is held until the next call.
var saved []byte

// SaveState is what sglpolicy/hook/state exports.
func SaveState() uint64 {
	defer reportPanic()
	keeper, keeps := registered.(StatePolicy)
	if !keeps || !ready {
		return 0
	}
	saved = keeper.SaveState()
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(saved))))<<32 | uint64(len(saved))
}

// RestoreState is what sglpolicy/hook/state exports.
func RestoreState(at, length uint32) {
	defer reportPanic()
	if keeper, keeps := registered.(StatePolicy); keeps && ready {
		keeper.RestoreState(message(at, length))
	}
}
