//! The WASI functions that can take space in a plugin's private directory. Each is first charged to the
//! directory's tally, and then made by wasmtime-wasi.
//!
//! All others take no space: `fd_allocate` is not supported at all, and the rest read, delete, or change
//! times.

use std::fs::File;
use std::sync::{Arc, Weak};

use sgl_policy_abi::WASI_MODULE;
use wasmtime::{AsContextMut, Caller, Extern, Linker};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p1::types::{Errno, Fd, Fdflags, Filetype};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasmtime_wasi::p1::{WasiP1Ctx, wasi_snapshot_preview1 as wasi};
use wiggle::GuestMemory;

use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::wasi::directory::Tmp;
use crate::engine::sandbox::wasi::system::System;
use crate::engine::sandbox::wasi::tmp_quota::{Admission, Charge, Demand, Ledger};
use crate::engine::sandbox::wasi::tmp_usage::Usage;

/// The error for a guest that may not have more.
const FULL: i32 = Errno::Dquot as i32;

const NO_ENTRY: i32 = Errno::Noent as i32;

/// Flags of `path_open`: make the file, and only if there is none.
const CREATE: i32 = 1;
const EXCLUSIVE: i32 = 4;

/// Bytes of a vector's entry: address and length.
const VECTOR_BYTES: usize = 8;

/// Finds what a guest's system calls work on in its store's data.
type SystemOf<T> = fn(&mut T) -> &mut System;

/// Replaces the functions that are linked already.
pub(crate) fn link<T: Send + 'static>(linker: &mut Linker<T>, of: SystemOf<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(WASI_MODULE, "fd_filestat_set_size", move |caller, args| {
        Box::new(set_size(caller, of, args))
    })?;
    linker
        .func_wrap_async(WASI_MODULE, "fd_pwrite", move |caller, args| Box::new(pwrite(caller, of, args)))?;
    linker.func_wrap_async(WASI_MODULE, "fd_write", move |caller, args| Box::new(write(caller, of, args)))?;
    linker.func_wrap_async(WASI_MODULE, "path_create_directory", move |caller, args| {
        Box::new(create_directory(caller, of, args))
    })?;
    linker.func_wrap_async(WASI_MODULE, "path_link", move |caller, args| {
        Box::new(link_file(caller, of, args))
    })?;
    linker.func_wrap_async(WASI_MODULE, "path_open", move |caller, args| Box::new(open(caller, of, args)))?;
    linker.func_wrap_async(WASI_MODULE, "path_rename", move |caller, args| {
        Box::new(rename(caller, of, args))
    })?;
    linker.func_wrap_async(WASI_MODULE, "path_symlink", move |caller, args| {
        Box::new(symlink(caller, of, args))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Where a write begins.
#[derive(Clone, Copy)]
enum WriteStart {
    /// At the descriptor's position.
    Cursor,
    /// At this position, unless the descriptor appends.
    At(u64),
}

/// One call of a guest.
struct TmpCall<'a> {
    memory: GuestMemory<'a>,
    wasi: &'a mut WasiP1Ctx,
    tmp: &'a Tmp,
    services: &'a dyn HostServices,
}

impl<'a> TmpCall<'a> {
    fn new<T: 'static>(caller: &'a mut Caller<'_, T>, of: SystemOf<T>) -> wasmtime::Result<Self> {
        let fuel = caller.as_context_mut().hostcall_fuel();
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
            wasmtime::bail!("the guest has no memory");
        };
        let (memory, data) = memory.data_and_store_mut(caller);
        let Some((wasi, tmp, services)) = of(data).files() else {
            wasmtime::bail!("the guest has no directory");
        };
        wasi.set_hostcall_fuel(fuel);
        let mut memory = GuestMemory::Unshared(memory);
        // This call only creates the descriptors that a guest begins with; its answer does not matter.
        let _ = wasi.fd_tell(&mut memory, Fd::from(0));
        Ok(Self { memory, wasi, tmp, services })
    }

    fn ledger(&self) -> &'a Arc<Ledger> {
        self.tmp.directory.ledger()
    }

    fn full(&self) -> i32 {
        self.services.tmp_full();
        FULL
    }

    /// What the guest has open.
    fn descriptors(&mut self) -> Vec<Weak<File>> {
        let table = self.wasi.ctx().table;
        let file = |entry: &mut (dyn std::any::Any + Send)| match entry.downcast_ref::<Descriptor>()? {
            Descriptor::File(file) => Some(Arc::downgrade(&file.file)),
            Descriptor::Dir(dir) => Some(Arc::downgrade(&dir.dir)),
        };
        table.iter_mut().filter_map(file).collect()
    }

    /// Total bytes of a list of vectors; WASI reports what lies outside memory.
    fn vectors(&self, at: i32, count: i32) -> u64 {
        let GuestMemory::Unshared(memory) = &self.memory else { return u64::MAX };
        let list = memory.get(at.cast_unsigned() as usize..).unwrap_or_default();
        let lengths =
            list.chunks_exact(VECTOR_BYTES).take(count.cast_unsigned() as usize).filter_map(|entry| {
                let length = entry.last_chunk::<4>()?;
                Some(u64::from(u32::from_le_bytes(*length)))
            });
        lengths.sum()
    }

    /// Charges a call that changes names and takes this much.
    async fn charge_names(&mut self, growth: Usage) -> Option<Charge> {
        for last in [false, true] {
            let names = self.ledger().names().await;
            let demand = Demand { growth, unseen: growth, measurement: 0 };
            let descriptors = self.descriptors();
            match self.ledger().charge(self.tmp.limits, demand, Some(names), descriptors) {
                Admission::Granted(charge) => return Some(charge),
                _ if last => {}
                _ => self.ledger().measure(self.tmp.directory.path()).await,
            }
        }
        None
    }

    /// Charges a call that may enlarge an open file; `None` if that does not fit.
    async fn charge_size(&mut self, fd: i32, start: WriteStart, bytes: u64) -> Option<Charge> {
        let mut measured = false;
        loop {
            let demand = self.demand_of_size(fd, start, bytes).await;
            let descriptors = self.descriptors();
            match self.ledger().charge(self.tmp.limits, demand, None, descriptors) {
                Admission::Granted(charge) => return Some(charge),
                Admission::Full if measured => return None,
                Admission::Full => {
                    measured = true;
                    self.ledger().measure(self.tmp.directory.path()).await;
                }
                Admission::Stale => {}
            }
        }
    }

    async fn demand_of_size(&mut self, fd: i32, start: WriteStart, bytes: u64) -> Demand {
        let measurement = self.ledger().measurements();
        let fd = Fd::from(fd.cast_unsigned());
        let size = match self.wasi.fd_filestat_get(&mut self.memory, fd).await {
            // A stream of the guest's log.
            Ok(facts) if facts.filetype != Filetype::RegularFile => {
                return Demand { measurement, ..Demand::default() };
            }
            Ok(facts) => facts.size,
            // WASI reports the error. If it does not, the tally takes the file as empty.
            Err(_) => 0,
        };
        let at = match start {
            WriteStart::At(at) => at,
            WriteStart::Cursor => self.wasi.fd_tell(&mut self.memory, fd).unwrap_or(size),
        };
        let at = if at < size && bytes > 0 && self.appends(fd).await { size } else { at };
        let end = at.saturating_add(bytes);
        Demand {
            growth: Usage { bytes: end.saturating_sub(size), files: 0 },
            unseen: Usage { bytes: end, files: 0 },
            measurement,
        }
    }

    async fn appends(&mut self, fd: Fd) -> bool {
        let facts = self.wasi.fd_fdstat_get(&mut self.memory, fd).await;
        facts.map_or(true, |facts| facts.fs_flags.contains(Fdflags::APPEND))
    }
}

async fn write<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, list, count, out): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let bytes = call.vectors(list, count);
    let Some(charge) = call.charge_size(fd, WriteStart::Cursor, bytes).await else { return Ok(call.full()) };
    let result = wasi::fd_write(call.wasi, &mut call.memory, fd, list, count, out).await;
    charge.settle();
    result
}

async fn pwrite<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, list, count, at, out): (i32, i32, i32, i64, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let bytes = call.vectors(list, count);
    let start = WriteStart::At(at.cast_unsigned());
    let Some(charge) = call.charge_size(fd, start, bytes).await else { return Ok(call.full()) };
    let result = wasi::fd_pwrite(call.wasi, &mut call.memory, fd, list, count, at, out).await;
    charge.settle();
    result
}

async fn set_size<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, size): (i32, i64),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let start = WriteStart::At(size.cast_unsigned());
    let Some(charge) = call.charge_size(fd, start, 0).await else { return Ok(call.full()) };
    let result = wasi::fd_filestat_set_size(call.wasi, &mut call.memory, fd, size).await;
    charge.settle();
    result
}

/// One more entry, and this many bytes.
fn entry(bytes: u64) -> Usage {
    Usage { bytes, files: 1 }
}

async fn create_directory<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, path, len): (i32, i32, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let Some(charge) = call.charge_names(entry(0)).await else { return Ok(call.full()) };
    let result = wasi::path_create_directory(call.wasi, &mut call.memory, fd, path, len).await;
    charge.settle();
    result
}

async fn symlink<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (to, to_len, fd, path, len): (i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let bytes = u64::from(to_len.cast_unsigned());
    let Some(charge) = call.charge_names(entry(bytes)).await else { return Ok(call.full()) };
    let result = wasi::path_symlink(call.wasi, &mut call.memory, to, to_len, fd, path, len).await;
    charge.settle();
    result
}

async fn link_file<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, flags, from, from_len, to_fd, to, to_len): (i32, i32, i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let Some(charge) = call.charge_names(entry(0)).await else { return Ok(call.full()) };
    let (ctx, memory) = (&mut *call.wasi, &mut call.memory);
    let result = wasi::path_link(ctx, memory, fd, flags, from, from_len, to_fd, to, to_len).await;
    charge.settle();
    result
}

async fn rename<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    (fd, from, from_len, to_fd, to, to_len): (i32, i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    // It takes no space, but the directory must not be measured meanwhile.
    let Some(charge) = call.charge_names(Usage::default()).await else { return Ok(call.full()) };
    let (ctx, memory) = (&mut *call.wasi, &mut call.memory);
    let result = wasi::path_rename(ctx, memory, fd, from, from_len, to_fd, to, to_len).await;
    charge.settle();
    result
}

type OpenArgs = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

async fn open<T: 'static>(
    mut caller: Caller<'_, T>,
    of: SystemOf<T>,
    args: OpenArgs,
) -> wasmtime::Result<i32> {
    let mut call = TmpCall::new(&mut caller, of)?;
    let (fd, look, path, len, flags, base, inheriting, fd_flags, out) = args;
    let creates = flags & CREATE != 0;
    if creates {
        if let Some(charge) = call.charge_names(entry(0)).await {
            return open_charged(&mut call, charge, args).await;
        }
        if flags & EXCLUSIVE != 0 {
            return Ok(call.full());
        }
    }
    // Takes no space, so it is granted whatever the limits.
    let Some(charge) = call.charge_names(Usage::default()).await else { return Ok(call.full()) };
    let args = (fd, look, path, len, flags & !CREATE, base, inheriting, fd_flags, out);
    match open_charged(&mut call, charge, args).await? {
        // It may open a file that exists; only a new one does not fit.
        NO_ENTRY if creates => Ok(call.full()),
        result => Ok(result),
    }
}

async fn open_charged(call: &mut TmpCall<'_>, charge: Charge, args: OpenArgs) -> wasmtime::Result<i32> {
    let (fd, look, path, len, flags, base, inheriting, fd_flags, out) = args;
    let (ctx, memory) = (&mut *call.wasi, &mut call.memory);
    let result =
        wasi::path_open(ctx, memory, fd, look, path, len, flags, base, inheriting, fd_flags, out).await;
    let descriptors = call.descriptors();
    // Before the directory may be measured again: the file may lose its name at any time.
    call.ledger().note_open(&descriptors);
    charge.settle();
    result
}
