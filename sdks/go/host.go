//go:build wasip1

package sglpolicy

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

//go:wasmimport sgl log
func hostLog(level uint32, at unsafe.Pointer, length uint32)

//go:wasmimport sgl counter_add
func hostCounterAdd(slot uint32, delta int64) int64

//go:wasmimport sgl kv_get
func hostKvGet(key unsafe.Pointer, keyLength uint32, out unsafe.Pointer, room uint32) int32

//go:wasmimport sgl kv_set
func hostKvSet(key unsafe.Pointer, keyLength uint32, value unsafe.Pointer, length uint32) int32

//go:wasmimport sgl kv_set_for
func hostKvSetFor(key unsafe.Pointer, keyLength uint32, value unsafe.Pointer, length uint32, ms uint32) int32

// Level of a line.
type Level uint32

// The levels of lines.
const (
	Error Level = iota
	Warn
	Info
	Debug
	Trace
)

// Log writes a line into the router's log.
func Log(level Level, line string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(line)), uint32(len(line)))
}

// CounterAdd adds to counter 0 to 63 and gives its new value; the lowest int64 for another slot.
func CounterAdd(slot uint32, delta int64) int64 { return hostCounterAdd(slot, delta) }

// Why the shared map did not do what was asked.
var (
	ErrValueTooLarge = errors.New("the value is above 64 KiB")
	ErrFull          = errors.New("the shared map is full")
	ErrBadArgument   = errors.New("the key is above 1024 bytes")
)

// KvGet gives the value of a key of the shared map; false without one.
func KvGet(key string) ([]byte, bool) {
	// Most values are small; a longer one costs a second call.
	for _, room := range []int{256, 65536} {
		out := make([]byte, room)
		length := hostKvGet(unsafe.Pointer(unsafe.StringData(key)), uint32(len(key)), unsafe.Pointer(&out[0]), uint32(room))
		if length >= 0 {
			return out[:length], true
		}
	}
	return nil, false
}

// KvSet sets a key of the shared map.
func KvSet(key string, value []byte) error {
	return kvResult(hostKvSet(unsafe.Pointer(unsafe.StringData(key)), uint32(len(key)),
		unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value))))
}

// KvSetFor does the same for so many milliseconds; 0 removes the key.
func KvSetFor(key string, value []byte, ms uint32) error {
	return kvResult(hostKvSetFor(unsafe.Pointer(unsafe.StringData(key)), uint32(len(key)),
		unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), ms))
}

func kvResult(code int32) error {
	switch code {
	case 0:
		return nil
	case -3:
		return ErrValueTooLarge
	case -4:
		return ErrFull
	}
	return ErrBadArgument
}

// The runtime imports it anyway. A panic that went on instead would write the stacks of all goroutines.
//
//go:wasmimport wasi_snapshot_preview1 proc_exit
func exit(code int32)

// reportPanic tells the router of a panic, with the place, and ends the call, which the router counts as a trap.
// Deferred by every export.
func reportPanic() {
	cause := recover()
	if cause == nil {
		return
	}
	message := "panic"
	switch is := cause.(type) {
	case error:
		message = is.Error()
	case string:
		message = is
	}
	Log(Error, "panicked at "+panicPlace()+":\n"+message)
	exit(2)
}

// panicPlace is the file and line of the function that panicked: the first below the runtime.
func panicPlace() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return frame.File + ":" + strconv.Itoa(frame.Line)
		}
		if !more {
			return "?"
		}
	}
}
