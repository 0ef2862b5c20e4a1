//go:build wasip1

// Package state exports save_state and restore_state for a policy that has SaveState and RestoreState.
package state

import "sglpolicy"

//go:wasmexport save_state
func save() uint64 { return sglpolicy.SaveState() }

//go:wasmexport restore_state
func restore(at, length uint32) { sglpolicy.RestoreState(at, length) }
