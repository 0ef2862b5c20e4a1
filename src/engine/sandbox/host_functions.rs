//! The `sgl` module: what every guest may call. Nothing in it blocks.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Caller, Extern, Linker};

use sgl_policy_abi::{HOST_MODULE, host_function};

use crate::engine::sandbox::last_words;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::store_data::StoreData;

/// Longest log line that is accepted from a guest, in bytes; the rest is cut.
const MAX_LOG_BYTES: u32 = 4096;

/// The level at which a panicking guest logs its message.
const ERROR: u8 = 0;

/// Longest key of the shared map, in bytes.
const MAX_KEY_BYTES: u32 = 1024;

pub(crate) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker.func_wrap(HOST_MODULE, host_function::LOG, log)?;
    linker.func_wrap(HOST_MODULE, host_function::COUNTER_ADD, counter_add)?;
    linker.func_wrap(HOST_MODULE, host_function::KV_GET, kv_get)?;
    linker.func_wrap(HOST_MODULE, host_function::KV_SET, kv_set)?;
    linker.func_wrap(HOST_MODULE, host_function::KV_SET_FOR, kv_set_for)?;
    Ok(())
}

fn log(mut caller: Caller<'_, StoreData>, level: i32, pointer: u32, len: u32) {
    let budget = {
        // A bad pointer logs nothing: a broken log call should not fail a decision.
        let Some((line, guest)) = bytes(&mut caller, pointer, len.min(MAX_LOG_BYTES)) else { return };
        let (level, line) = (u8::try_from(level.clamp(0, 4)).unwrap_or(4), String::from_utf8_lossy(line));
        guest.services.log(level, &line);
        if level != ERROR {
            return;
        }
        guest.words.lock().hear(&line);
        if !last_words::is_panic(&line) {
            return;
        }
        Arc::clone(&guest.backtraces)
    };
    let frames = last_words::frames(&caller, &budget);
    caller.data().words.lock().locate(frames);
}

fn counter_add(caller: Caller<'_, StoreData>, slot: i32, delta: i64) -> i64 {
    let slot = u32::try_from(slot).ok();
    slot.and_then(|slot| caller.data().services.counter_add(slot, delta)).unwrap_or(i64::MIN)
}

fn kv_get(mut caller: Caller<'_, StoreData>, key: u32, key_len: u32, out: u32, capacity: u32) -> i32 {
    if key_len > MAX_KEY_BYTES {
        return host_function::KV_BAD_ARGUMENT;
    }
    let Some((key, guest)) = bytes(&mut caller, key, key_len) else { return host_function::KV_BAD_ARGUMENT };
    let Some(value) = guest.services.kv_get(key) else { return host_function::KV_NOT_FOUND };
    if value.len() > capacity as usize {
        return host_function::KV_BUFFER_TOO_SMALL;
    }
    let Some(target) =
        memory(&mut caller).and_then(|(memory, _)| memory.get_mut(out as usize..)?.get_mut(..value.len()))
    else {
        return host_function::KV_BAD_ARGUMENT;
    };
    target.copy_from_slice(&value);
    i32::try_from(value.len()).unwrap_or(host_function::KV_BAD_ARGUMENT)
}

fn kv_set(caller: Caller<'_, StoreData>, key: u32, key_len: u32, value: u32, value_len: u32) -> i32 {
    store(caller, (key, key_len), (value, value_len), |services, key, value| services.kv_set(key, value))
}

fn kv_set_for(
    caller: Caller<'_, StoreData>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    ttl_ms: u32,
) -> i32 {
    let keep = Duration::from_millis(u64::from(ttl_ms));
    store(caller, (key, key_len), (value, value_len), |services, key, value| {
        services.kv_set_for(key, value, keep)
    })
}

/// Has a value stored; both are given as pointer and length.
fn store(
    mut caller: Caller<'_, StoreData>,
    (key, key_len): (u32, u32),
    (value, value_len): (u32, u32),
    store: impl FnOnce(&dyn HostServices, &[u8], &[u8]) -> Result<(), i32>,
) -> i32 {
    if key_len > MAX_KEY_BYTES {
        return host_function::KV_BAD_ARGUMENT;
    }
    if value_len as usize > host_function::KV_VALUE_BYTES {
        return host_function::KV_VALUE_TOO_LARGE;
    }
    let Some((memory, guest)) = memory(&mut caller) else { return host_function::KV_BAD_ARGUMENT };
    let memory = &*memory;
    let part = |at: u32, len: u32| memory.get(at as usize..)?.get(..len as usize);
    match (part(key, key_len), part(value, value_len)) {
        (Some(key), Some(value)) => store(&*guest.services, key, value).err().unwrap_or(0),
        _ => host_function::KV_BAD_ARGUMENT,
    }
}

fn memory<'a>(caller: &'a mut Caller<'_, StoreData>) -> Option<(&'a mut [u8], &'a mut StoreData)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return None };
    Some(memory.data_and_store_mut(caller))
}

fn bytes<'a>(
    caller: &'a mut Caller<'_, StoreData>,
    pointer: u32,
    len: u32,
) -> Option<(&'a [u8], &'a mut StoreData)> {
    let (memory, guest) = memory(caller)?;
    Some((memory.get(pointer as usize..)?.get(..len as usize)?, guest))
}
