//! Where pointers are: the Wasm side of the exports. Used by `export_policy!` only.

use alloc::alloc::Layout;
use core::cell::RefCell;

use sgl_policy_abi::pack;

use crate::guest::Guest;
use crate::policy::Plugin;

/// Buffers are aligned so that vector loads of their columns do not straddle lines needlessly.
const ALIGNMENT: usize = 16;
/// Bytes of a Wasm page.
const PAGE_BYTES: usize = 1 << 16;

/// The plugin's one guest, a static.
#[derive(Debug)]
pub struct GuestCell<P>(RefCell<Guest<P>>);

#[expect(unsafe_code, reason = "a static has to be Sync")]
// SAFETY: a plugin is a module without threads (the ABI refuses them), so there
// is no second thread that could reach the static.
unsafe impl<P> Sync for GuestCell<P> {}

impl<P: Plugin> GuestCell<P> {
    /// A guest that waits for `init`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only a static makes one")]
    pub const fn new() -> Self {
        Self(RefCell::new(Guest::new()))
    }

    /// Runs an export. A message that lies outside this memory reads as an empty
    /// one, which no decoder accepts. 0, an empty answer, if the host calls back in
    /// from one of its functions.
    #[inline]
    pub fn answer(&self, ptr: usize, len: usize, run: impl FnOnce(&mut Guest<P>, &[u8]) -> i64) -> i64 {
        match self.0.try_borrow_mut() {
            Ok(mut guest) => run(&mut guest, message(ptr, len).unwrap_or_default()),
            Err(_) => 0,
        }
    }
}

/// The result that names `bytes`; they belong to the guest until the next call.
#[inline]
#[must_use]
pub fn result(bytes: &[u8]) -> i64 {
    // Both fit: this is a 32-bit target.
    let address = u32::try_from(bytes.as_ptr().addr()).unwrap_or(0);
    if bytes.is_empty() { 0 } else { pack(address, u32::try_from(bytes.len()).unwrap_or(0)) }
}

/// The host's message, if it lies inside this memory.
#[inline]
fn message<'a>(ptr: usize, len: usize) -> Option<&'a [u8]> {
    if len == 0 {
        return Some(&[]);
    }
    let pages = core::arch::wasm32::memory_size::<0>();
    let end = ptr.checked_add(len)?;
    // 65536 pages are 2^32 bytes, one more than `usize` holds: compare in pages.
    let inside = ptr != 0 && end.div_ceil(PAGE_BYTES) <= pages;
    #[expect(unsafe_code, reason = "the host wrote a message into this memory")]
    // SAFETY: the bytes are inside linear memory, not null, and initialised as
    // all of it is. The host wrote them before the call and does not run during
    // it; the reference is gone when the export returns.
    inside.then(|| unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(ptr), len) })
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1), ALIGNMENT).ok()
}

/// Export `alloc`: a buffer for the host's messages, null when out of memory.
#[must_use]
pub fn alloc(size: usize) -> *mut u8 {
    let Some(layout) = layout(size) else {
        return core::ptr::null_mut();
    };
    #[expect(unsafe_code, reason = "the host owns this buffer until `dealloc`")]
    // SAFETY: the layout's size is at least 1.
    unsafe {
        // Zeroed, because the host may name more bytes of it than it wrote.
        alloc::alloc::alloc_zeroed(layout)
    }
}

/// Export `dealloc`: gives such a buffer back.
///
/// # Safety
/// `ptr` came from [`alloc`] with the same `size` and was not given back before.
#[expect(unsafe_code, reason = "the caller vouches for the pointer")]
pub unsafe fn dealloc(ptr: *mut u8, size: usize) {
    if let (Some(layout), false) = (layout(size), ptr.is_null()) {
        // SAFETY: by the function's contract this is the layout that `alloc` used.
        unsafe { alloc::alloc::dealloc(ptr, layout) }
    }
}
