//! Feature `runtime`: what a plugin without the standard library needs.
//!
//! The standard library brings a panic machinery and a large allocator, together
//! more than the size of a policy. A plugin with
//! `#![cfg_attr(target_arch = "wasm32", no_std)]` gets by with this: a panic is a
//! trap, which the router reports and recovers from, and memory comes from a
//! free list that is searched only off the decision path.

use core::panic::PanicInfo;

use lol_alloc::AssumeSingleThreaded;
use lol_alloc::FreeListAllocator;

#[expect(unsafe_code, reason = "the allocator has to be told that there are no threads")]
#[global_allocator]
// SAFETY: a plugin is a module without threads; the ABI refuses them.
static HEAP: AssumeSingleThreaded<FreeListAllocator> =
    unsafe { AssumeSingleThreaded::new(FreeListAllocator::new()) };

#[panic_handler]
fn trap(_info: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
