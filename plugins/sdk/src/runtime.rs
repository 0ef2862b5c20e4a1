//! Feature `runtime`: what a plugin without the standard library needs.
//!
//! The standard library brings a panic machinery and a large allocator, together
//! more than the size of a policy. A plugin with
//! `#![cfg_attr(target_arch = "wasm32", no_std)]` gets by with this: a panic logs
//! its message, file and line and is a trap, which the router reports together and
//! recovers from, and memory comes from a free list that is searched only off the
//! decision path.

use core::fmt::Write;
use core::panic::PanicInfo;

use lol_alloc::{AssumeSingleThreaded, FreeListAllocator};

use crate::host::Level;

#[expect(unsafe_code, reason = "the allocator has to be told that there are no threads")]
#[global_allocator]
// SAFETY: a plugin is a module without threads; the ABI refuses them.
static HEAP: AssumeSingleThreaded<FreeListAllocator> =
    unsafe { AssumeSingleThreaded::new(FreeListAllocator::new()) };

/// Bytes of a panic's message that the router is told; the rest is cut.
const MAX_MESSAGE_BYTES: usize = 512;

/// A message on the stack: memory may be what is short.
struct PanicMessage {
    bytes: [u8; MAX_MESSAGE_BYTES],
    len: usize,
}

impl Write for PanicMessage {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

impl PanicMessage {
    /// What was written, without a character that was cut in two.
    fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

#[panic_handler]
fn report(info: &PanicInfo<'_>) -> ! {
    let mut message = PanicMessage { bytes: [0; MAX_MESSAGE_BYTES], len: 0 };
    // It takes everything.
    let _ = write!(message, "{info}");
    crate::host::log(Level::Error, message.text());
    core::arch::wasm32::unreachable()
}
