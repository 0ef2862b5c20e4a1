//! A plugin's decision in this router beside the same decision in other hosts of plugins. The
//! guests are built by `run.sh`, which runs this too.
//!
//! usage: peers --extism LIBRARY [--quick] [--json FILE]

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peer_message::Message;
use sglang_router_rs::policies::PolicyFactory;
use tokio::runtime::Runtime;

use crate::component::Linking;
use crate::component::PerCall;
use crate::core_module::CoreModule;
use crate::extism::Extism;
use crate::report::Size;
use crate::rounds::Shape;
use crate::rounds::measure;

mod component;
mod core_module;
mod extism;
mod ours;
mod report;
mod rounds;

const SIZES: [usize; 3] = [8, 64, 1000];

#[derive(Default)]
struct Args {
    quick: bool,
    /// Extism's library.
    extism: PathBuf,
    json: Option<PathBuf>,
}

fn args() -> anyhow::Result<Args> {
    let mut args = Args::default();
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        match flag.as_str() {
            "--quick" => args.quick = true,
            "--extism" => args.extism = given.next().context("--extism: no library")?.into(),
            "--json" => args.json = Some(given.next().context("--json: no file")?.into()),
            other => anyhow::bail!("{other}: unknown; usage: peers --extism LIBRARY [--quick] [--json FILE]"),
        }
    }
    Ok(args)
}

/// Where guests are.
struct Guests {
    ours: PathBuf,
    extism: PathBuf,
    extism_host: PathBuf,
    core: PathBuf,
    component: PathBuf,
}

impl Guests {
    fn find() -> anyhow::Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = here.join("target/guests");
        let guests = Self {
            ours: here.join("../../dist/plugins/least_connections.wasm"),
            extism: built.join("wasm32-unknown-unknown/plugin/peer_extism.wasm"),
            extism_host: std::env::current_exe()?.with_file_name("extism_host"),
            core: built.join("wasm32-unknown-unknown/plugin/peer_per_call.wasm"),
            component: built.join("component.wasm"),
        };
        for guest in [&guests.ours, &guests.extism, &guests.extism_host, &guests.core, &guests.component] {
            anyhow::ensure!(guest.exists(), "{}: run benches/peers/run.sh", guest.display());
        }
        Ok(guests)
    }
}

type Shapes<'a> = Vec<(&'static str, Box<dyn Shape + 'a>)>;

/// All shapes for as many workers. The first two are what the report compares with.
fn shapes<'a>(
    runtime: &'a Runtime,
    factory: &PolicyFactory,
    guests: &Guests,
    extism: Extism,
    workers: usize,
) -> anyhow::Result<Shapes<'a>> {
    let policy = |name: &str| factory.create_by_name(name).context("a policy that was loaded");
    let table = ours::fleet(workers)?.table();
    let ours = |name: &str| {
        anyhow::Ok(Box::new(ours::Async { runtime, policy: policy(name)?, table: Arc::clone(&table) }))
    };
    let core = |pooling| CoreModule::new(&guests.core, workers, pooling).map(Box::new);
    let component =
        |pooling, linking| PerCall::new(runtime, &guests.component, workers, pooling, linking).map(Box::new);
    Ok(vec![
        ("here, sync", Box::new(ours::Sync { policy: policy("fiber")?, table: Arc::clone(&table) })),
        ("here, async fiber", ours("fiber")?),
        ("here, async adaptive", ours("adaptive")?),
        ("Extism, one plugin kept", Box::new(extism)),
        ("core module per call, pooling", core(true)?),
        ("core module per call, on demand", core(false)?),
        ("component per call, pooling, linked once", component(true, Linking::Once)?),
        ("component per call, on demand, linked once", component(false, Linking::Once)?),
        ("component per call, pooling, linked in each call", component(true, Linking::EachCall)?),
        ("component per call, on demand, linked in each call", component(false, Linking::EachCall)?),
    ])
}

fn main() -> anyhow::Result<()> {
    let args = args()?;
    let (rounds, slice) =
        if args.quick { (7, Duration::from_millis(20)) } else { (21, Duration::from_millis(100)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guests = Guests::find()?;
    let factory = runtime.block_on(ours::factory(&guests.ours))?;
    let mut sizes = Vec::new();
    let mut version = String::new();
    for workers in SIZES {
        let extism = Extism::new(&guests.extism_host, &args.extism, &guests.extism, workers)?;
        extism.version().clone_into(&mut version);
        let mut shapes = shapes(&runtime, &factory, &guests, extism, workers)?;
        let bytes = Message::new(workers).len();
        sizes.push(Size { workers, bytes, measured: measure(&mut shapes, rounds, slice)? });
    }
    write!(std::io::stdout(), "Extism {version}\n\n{}", report::table(&sizes))?;
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report::json(&version, &sizes))?)?;
    }
    Ok(())
}
