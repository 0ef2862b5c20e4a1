//go:build wasip1

// Package sessionend exports on_session_end for a policy that has OnSessionEnd.
package sessionend

import "sglpolicy"

//go:wasmexport on_session_end
func export(at, length uint32) { sglpolicy.OnSessionEnd(at, length) }
