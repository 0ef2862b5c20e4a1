//! A fresh store and instance of a component for every decision: how routers run Wasm middleware.
//! Engine and compiled component are kept. The guest is built for WASI, as such guests are.

use std::fmt::Debug;
use std::hint::black_box;
use std::path::Path;

use peer_message::Message;
use tokio::runtime::Runtime;
use wasmtime::Engine;
use wasmtime::Store;
use wasmtime::StoreLimits;
use wasmtime::StoreLimitsBuilder;
use wasmtime::component::Component;
use wasmtime::component::InstancePre;
use wasmtime::component::Linker;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::WasiView;

use crate::core_module::engine;
use crate::rounds::Shape;

const MEMORY_LIMIT: usize = 64 << 20;

/// What the store of a call owns.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// How much is kept between calls beyond the compiled component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linking {
    /// Nothing: WASI is added to a new linker in every call.
    EachCall,
    /// Imports are resolved once.
    Once,
}

pub(crate) struct PerCall<'a> {
    runtime: &'a Runtime,
    engine: Engine,
    component: Component,
    /// With [`Linking::Once`].
    linked: Option<InstancePre<State>>,
    message: Message,
}

impl<'a> PerCall<'a> {
    pub(crate) fn new(
        runtime: &'a Runtime,
        component: &Path,
        workers: usize,
        pooling: bool,
        linking: Linking,
    ) -> anyhow::Result<Self> {
        let engine = engine(pooling)?;
        let component = Component::from_file(&engine, component)?;
        let linked = match linking {
            Linking::EachCall => None,
            Linking::Once => Some(link(&engine)?.instantiate_pre(&component)?),
        };
        Ok(Self { runtime, engine, component, linked, message: Message::new(workers) })
    }
}

fn link(engine: &Engine) -> anyhow::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

async fn decide(
    engine: &Engine,
    component: &Component,
    linked: Option<&InstancePre<State>>,
    message: &[u8],
) -> anyhow::Result<i64> {
    let state = State {
        wasi: WasiCtx::builder().build(),
        table: ResourceTable::new(),
        limits: StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build(),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    store.set_epoch_deadline(1);
    let instance = match linked {
        Some(linked) => linked.instantiate_async(&mut store).await?,
        None => link(engine)?.instantiate_async(&mut store, component).await?,
    };
    let select = instance.get_typed_func::<(&[u8],), (i64,)>(&mut store, "select")?;
    let (index,) = select.call_async(&mut store, (message,)).await?;
    Ok(index)
}

impl Shape for PerCall<'_> {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        let Self { runtime, engine, component, linked, message } = self;
        runtime.block_on(async {
            for _ in 0..calls {
                let index = black_box(decide(engine, component, linked.as_ref(), message.next()).await?);
                anyhow::ensure!(index >= 0, "the component chose nobody");
            }
            Ok(())
        })
    }
}
