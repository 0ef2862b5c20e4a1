//go:build wasip1

// Package firsttoken exports on_first_token for a policy that has OnFirstToken.
package firsttoken

import "sglpolicy"

//go:wasmexport on_first_token
func export(at, length uint32) { sglpolicy.OnFirstToken(at, length) }
