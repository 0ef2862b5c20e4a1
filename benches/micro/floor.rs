//! What a decision costs at least: `least_connections` called by hand.

use std::sync::Arc;

use sgl_policy_abi::{Writer, unpack};
use wasmtime::{
    Config, InstanceAllocationStrategy, InstancePre, Memory, PoolingAllocationConfig, Store, TypedFunc,
};

use crate::{by_hand, pool};

/// One instance with a message that is written once and copied in before each call, but for its
/// last input.
pub(crate) struct Floor {
    store: Store<()>,
    memory: Memory,
    select: TypedFunc<(u32, u32), i64>,
    message: Arc<[u8]>,
    pointer: u32,
}

/// What the guest is told: first, and in each call.
pub(crate) struct Messages {
    init: Vec<u8>,
    select: Arc<[u8]>,
}

impl Messages {
    /// For as many idle, healthy workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { init: pool::init_message(), select: select_message(workers).into() }
    }
}

impl Floor {
    /// For as many idle, healthy workers, with wasmtime's defaults but for epochs and pooling.
    pub(crate) fn new(workers: usize) -> Self {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
        Self::configured(&config, workers)
    }

    /// With these settings.
    pub(crate) fn configured(config: &Config, workers: usize) -> Self {
        let pre = by_hand::prepared(config);
        let mut floor = Self::with(by_hand::store(&pre), &pre, &Messages::new(workers));
        assert!(floor.call() < workers, "it chooses");
        floor
    }

    /// With an instance in this store.
    pub(crate) fn with(mut store: Store<()>, pre: &InstancePre<()>, messages: &Messages) -> Self {
        let instance = pre.instantiate(&mut store).expect("an instance");
        let init = instance.get_typed_func::<(u32, u32), i64>(&mut store, "init").expect("init");
        let alloc = instance.get_typed_func::<u32, u32>(&mut store, "alloc").expect("alloc");
        let select = instance.get_typed_func(&mut store, "select_worker").expect("select_worker");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        let length = u32::try_from(messages.init.len()).expect("short");
        let pointer = alloc.call(&mut store, length).expect("room");
        memory.write(&mut store, pointer as usize, &messages.init).expect("room");
        init.call(&mut store, (pointer, length)).expect("it starts");
        let message = Arc::clone(&messages.select);
        let pointer = alloc.call(&mut store, u32::try_from(message.len()).expect("fits")).expect("room");
        Self { store, memory, select, message, pointer }
    }

    pub(crate) fn call(&mut self) -> usize {
        let length = self.copy();
        let packed = self.select.call(&mut self.store, (self.pointer, length)).expect("it decides");
        self.answer(packed)
    }

    pub(crate) async fn call_async(&mut self) -> usize {
        let length = self.copy();
        let packed = self.select.call_async(&mut self.store, (self.pointer, length)).await;
        self.answer(packed.expect("it decides"))
    }

    fn copy(&mut self) -> u32 {
        let start = self.pointer as usize;
        let memory = self.memory.data_mut(&mut self.store);
        let copy = memory.get_mut(start..start + self.message.len()).expect("in memory");
        copy.copy_from_slice(&self.message);
        // The last input differs from call to call, as in every decision: with always the same
        // number, processors learn the guest's branches by heart.
        let (_, random) = copy.split_last_chunk_mut::<8>().expect("longer");
        *random = fastrand::u64(1 << 63..).to_be_bytes();
        u32::try_from(self.message.len()).expect("fits")
    }

    #[expect(clippy::panic, reason = "a benchmark that measures nonsense must stop")]
    fn answer(&self, packed: i64) -> usize {
        let (pointer, length) = unpack(packed);
        let bytes = self.memory.data(&self.store).get(pointer as usize..).expect("in memory");
        match bytes.get(..length as usize).expect("in memory") {
            [index @ 0..=0x7f] => usize::from(*index),
            [0xcc, index] => usize::from(*index),
            [0xcd, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
            other => panic!("no index: {other:?}"),
        }
    }
}

/// The inputs of `least_connections`: healthy, excluded, load, random.
fn select_message(workers: usize) -> Vec<u8> {
    let mut buffer = vec![0; workers * 5 + 64];
    let mut writer = Writer::new(&mut buffer);
    let written = (|| {
        writer.array(5)?;
        writer.uint(1)?;
        let healthy = writer.bin(workers.div_ceil(8))?;
        (0..workers).for_each(|index| {
            if let Some(byte) = healthy.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        });
        writer.bin(workers.div_ceil(8))?.fill(0);
        writer.bin(workers * 4)?.fill(0);
        // Any number that takes eight bytes.
        writer.uint(u64::MAX)
    })();
    written.expect("it fits");
    let length = writer.position();
    buffer.truncate(length);
    buffer
}
