//! A guest that is called by hand.

use std::collections::HashMap;

use sgl_policy_abi::{HOST_MODULE, WASI_MODULE, host_function, unpack};
use wasmtime::{Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, Store};

/// What the host's functions keep.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<(u32, String)>,
    counters: HashMap<u32, i64>,
    map: HashMap<Vec<u8>, Vec<u8>>,
    nanoseconds: u64,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct PlainGuest {
    store: Store<Kept>,
    instance: Instance,
    memory: Memory,
    /// The one buffer that a host keeps.
    buffer: (u32, u32),
}

impl PlainGuest {
    pub(crate) fn new(module: &[u8]) -> Self {
        let engine = Engine::new(&Config::new()).unwrap();
        let module = Module::new(&engine, module).unwrap();
        let mut linker = Linker::new(&engine);
        add_host(&mut linker);
        let mut store = Store::new(&engine, Kept::default());
        add_system(&mut linker);
        // The other system calls that runtimes import: all of them succeed and do nothing.
        linker.define_unknown_imports_as_default_values(&mut store, &module).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            initialize.call(&mut store, ()).unwrap();
        }
        Self { store, instance, memory, buffer: (0, 0) }
    }

    /// The answer of an export to a message, or that it trapped.
    pub(crate) fn try_ask(&mut self, export: &str, message: &[u8]) -> Result<Vec<u8>, wasmtime::Error> {
        let (at, len) = self.written(message)?;
        let function = self.instance.get_typed_func::<(u32, u32), i64>(&mut self.store, export)?;
        let answer = unpack(function.call(&mut self.store, (at, len))?);
        Ok(self.read(answer))
    }

    pub(crate) fn ask(&mut self, export: &str, message: &[u8]) -> Vec<u8> {
        self.try_ask(export, message)
            .unwrap_or_else(|error| panic!("{export}: {error:?}, {:?}", self.lines()))
    }

    /// Tells it something that has no answer, or says that it trapped.
    pub(crate) fn try_tell(&mut self, export: &str, message: &[u8]) -> Result<(), wasmtime::Error> {
        let (at, len) = self.written(message)?;
        let function = self.instance.get_typed_func::<(u32, u32), ()>(&mut self.store, export)?;
        function.call(&mut self.store, (at, len))
    }

    pub(crate) fn tell(&mut self, export: &str, message: &[u8]) {
        self.try_tell(export, message)
            .unwrap_or_else(|error| panic!("{export}: {error:?}, {:?}", self.lines()));
    }

    pub(crate) fn saved_state(&mut self) -> Vec<u8> {
        let function = self.instance.get_typed_func::<(), i64>(&mut self.store, "save_state").unwrap();
        let answer = unpack(function.call(&mut self.store, ()).unwrap());
        self.read(answer)
    }

    /// The lines that it has logged since it was asked last, with their levels.
    pub(crate) fn lines(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.store.data_mut().lines)
    }

    /// Bytes of its memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// As a host does it: one buffer, replaced only by a larger one.
    fn written(&mut self, message: &[u8]) -> Result<(u32, u32), wasmtime::Error> {
        let len = u32::try_from(message.len()).unwrap();
        if len > self.buffer.1 || self.buffer.0 == 0 {
            let size = len.max(4096).next_power_of_two();
            if self.buffer.0 != 0 {
                let dealloc = self.instance.get_typed_func::<(u32, u32), ()>(&mut self.store, "dealloc")?;
                dealloc.call(&mut self.store, self.buffer)?;
            }
            let alloc = self.instance.get_typed_func::<u32, u32>(&mut self.store, "alloc")?;
            let at = alloc.call(&mut self.store, size)?;
            assert_ne!(at, 0, "no memory for {size} bytes");
            self.buffer = (at, size);
        }
        // What was there before is not zeros.
        let (at, size) = (self.buffer.0 as usize, self.buffer.1 as usize);
        self.memory.data_mut(&mut self.store)[at..at + size].fill(0xa5);
        self.memory.write(&mut self.store, at, message)?;
        Ok((self.buffer.0, len))
    }

    fn read(&self, (at, len): (u32, u32)) -> Vec<u8> {
        let (at, len) = (at as usize, len as usize);
        self.memory.data(&self.store)[at..at + len].to_vec()
    }
}

fn bytes(caller: &mut Caller<'_, Kept>, at: u32, len: u32) -> Vec<u8> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { panic!("no memory") };
    memory.data(&caller)[at as usize..(at + len) as usize].to_vec()
}

/// What a runtime cannot do without: a clock that goes, and an end.
fn add_system(linker: &mut Linker<Kept>) {
    let exit =
        |code: i32| -> Result<(), wasmtime::Error> { Err(wasmtime::Error::msg(format!("exit {code}"))) };
    linker.func_wrap(WASI_MODULE, "proc_exit", exit).unwrap();
    let clock = |mut caller: Caller<'_, Kept>, _id: i32, _precision: i64, out: u32| {
        caller.data_mut().nanoseconds += 1000;
        let now = caller.data().nanoseconds.to_le_bytes();
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else { panic!("no memory") };
        memory.write(&mut caller, out as usize, &now).unwrap();
        0i32
    };
    linker.func_wrap(WASI_MODULE, "clock_time_get", clock).unwrap();
}

/// The functions of a router, without their limits.
fn add_host(linker: &mut Linker<Kept>) {
    let log = |mut caller: Caller<'_, Kept>, level: u32, at: u32, len: u32| {
        let line = String::from_utf8(bytes(&mut caller, at, len)).unwrap();
        caller.data_mut().lines.push((level, line));
    };
    linker.func_wrap(HOST_MODULE, "log", log).unwrap();
    let counter_add = |mut caller: Caller<'_, Kept>, slot: u32, delta: i64| {
        let counter = caller.data_mut().counters.entry(slot).or_default();
        *counter += delta;
        *counter
    };
    linker.func_wrap(HOST_MODULE, "counter_add", counter_add).unwrap();
    let kv_get = |mut caller: Caller<'_, Kept>, key: u32, key_len: u32, out: u32, capacity: u32| {
        let key = bytes(&mut caller, key, key_len);
        let Some(value) = caller.data().map.get(&key).cloned() else { return host_function::KV_NOT_FOUND };
        if value.len() > capacity as usize {
            return host_function::KV_BUFFER_TOO_SMALL;
        }
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else { panic!("no memory") };
        memory.write(&mut caller, out as usize, &value).unwrap();
        i32::try_from(value.len()).unwrap()
    };
    linker.func_wrap(HOST_MODULE, "kv_get", kv_get).unwrap();
    let kv_set = |mut caller: Caller<'_, Kept>, key: u32, key_len: u32, value: u32, len: u32| {
        let (key, value) = (bytes(&mut caller, key, key_len), bytes(&mut caller, value, len));
        caller.data_mut().map.insert(key, value);
        0
    };
    linker.func_wrap(HOST_MODULE, "kv_set", kv_set).unwrap();
    let kv_set_for = |mut caller: Caller<'_, Kept>, key: u32, key_len: u32, value: u32, len: u32, ms: u32| {
        let (key, value) = (bytes(&mut caller, key, key_len), bytes(&mut caller, value, len));
        match ms {
            0 => caller.data_mut().map.remove(&key),
            _ => caller.data_mut().map.insert(key, value),
        };
        0
    };
    linker.func_wrap(HOST_MODULE, "kv_set_for", kv_set_for).unwrap();
}
