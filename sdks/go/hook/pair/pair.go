//go:build wasip1

// Package pair exports select_worker_pair for a policy that has SelectPair.
package pair

import "sglpolicy"

//go:wasmexport select_worker_pair
func export(at, length uint32) uint64 { return sglpolicy.SelectPair(at, length) }
