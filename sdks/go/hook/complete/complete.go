//go:build wasip1

// Package complete exports on_complete for a policy that has OnComplete.
package complete

import "sglpolicy"

//go:wasmexport on_complete
func export(at, length uint32) { sglpolicy.OnComplete(at, length) }
