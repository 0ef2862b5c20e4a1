//! `sgl-router serve`: reads the configuration, starts the router, stops it on a signal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::audit::AuditScope;
use crate::cli::assembly::RunningRouter;
use crate::cli::configuration::configuration;
use crate::cli::engine_options::engine_options;
use crate::cli::flags::ServeArgs;
use crate::cli::foreign;
use crate::cli::log;
use crate::cli::log::LogLevelError;
use crate::cli::reload::{AtStart, Reloader};
use crate::cli::start_error::StartError;
use crate::cli::surroundings::{Oddity, oddities};
use crate::config::checked::{CheckedConfig, FaultyPlugin};
use crate::manage::embedded::settings_page;
use crate::manage::plugin_metrics;
use crate::manage::registry_modules::RegistryModules;
use crate::manage::{ManageError, ModuleSources};
use crate::metrics::Metrics;
use sgl_upstream::raise_descriptor_limit;
use sglang_router_rs::config::Faults;
use sglang_router_rs::engine::aot_cache;
use sglang_router_rs::policies::trust::KeyFault;
use sglang_router_rs::policies::{PolicyFactory, TrustPolicy};
use sglang_router_rs::types::{in_full, shown, shown_path};

/// Why `serve` ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The log filter is none.
    #[error(transparent)]
    LogLevel(#[from] LogLevelError),
    /// The runtime or its signal handlers could not be made.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// A plugin could not be loaded.
    #[error("cannot load plugin {name}{page}")]
    Plugin {
        /// Its name.
        name: String,
        /// Where the settings of an embedded one are told, as the rest of the sentence.
        page: String,
        /// What is wrong.
        source: Box<ManageError>,
    },
    /// A key of a rule about signatures cannot be used.
    #[error(transparent)]
    Trust(#[from] KeyFault),
    /// What was asked for could not be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
    /// The router did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs a router until SIGTERM or SIGINT, and then until its requests are finished. After SIGTERM it
/// goes on accepting for the configured time, so that balancers see that it is not ready. A second
/// signal ends it at once, and so does one before it serves. SIGHUP reads the configuration again.
///
/// # Errors
///
/// [`ServeError`] if it did not start.
pub fn run(args: &ServeArgs) -> Result<(), ServeError> {
    run_with(args, configuration(args)?)
}

/// The same with a configuration that was checked before; it is read again by these flags.
pub(crate) fn run_with(args: &ServeArgs, config: CheckedConfig) -> Result<(), ServeError> {
    log::start(&args.log_level, args.log_format)?;
    for (flag, what) in foreign::warnings(&args.foreign, &config.policy) {
        tracing::warn!(flag, "{what}");
    }
    warn_of_surroundings(&config);
    raise_descriptor_limit();
    let runtime = tokio::runtime::Runtime::new().map_err(ServeError::Runtime)?;
    runtime.block_on(serve(args, config))
}

async fn serve(args: &ServeArgs, config: CheckedConfig) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Runtime)?;
    // From here on SIGHUP no longer ends the process.
    let mut hang_up = signal(SignalKind::hangup()).map_err(ServeError::Runtime)?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    let delay = config.shutdown_delay;
    let at_start = AtStart::of(&config);
    let factory = PolicyFactory::with_engine(engine_options(&config));
    let trust = TrustPolicy::new(config.trust.clone());
    trust.check_keys()?;
    factory.set_trust(trust);
    let router = tokio::select! {
        // Boxed: it is much larger than waiting for a signal.
        started = Box::pin(start(&factory, config)) => started?,
        _ = signalled() => {
            tracing::info!("stopped by a signal before it served");
            return Ok(());
        }
    };
    let addresses = router.addresses();
    tracing::info!(
        clients = %addresses.data,
        metrics = %addresses.metrics,
        admin = %addresses.admin,
        policy = router.proxy().policy().name(),
        "serving"
    );
    let mut asked = router.config_door().open(at_start.view());
    let audit = Arc::clone(router.audit());
    let mut reloader = Reloader::new(args.clone(), at_start, &router);
    let reloading = async {
        loop {
            tokio::select! {
                Some(()) = hang_up.recv() => {
                    let ticket = audit.begin("signal".to_owned(), "SIGHUP".to_owned(), AuditScope::All);
                    let reloaded = Box::pin(reloader.reload()).await;
                    ticket.end(None, reloaded.err().map(|error| shown(&error.to_string()))).await;
                }
                Some(request) = asked.recv() => Box::pin(reloader.answer(request)).await,
                () = reloader.hand_over() => {}
            }
        }
    };
    let ended_by = tokio::select! {
        kind = signalled() => kind,
        never = reloading => never,
    };
    // Ctrl-C comes from a person, who has no balancer to wait for.
    let delay = if ended_by == SignalKind::terminate() { delay } else { Duration::ZERO };
    let stopping = async {
        if !delay.is_zero() {
            tracing::info!(?delay, "stopping: not ready any more, still accepting");
            router.proxy().stop();
            tokio::time::sleep(delay).await;
        }
        tracing::info!("stopping: finishing requests in flight");
        router.shut_down().await;
    };
    tokio::select! {
        () = stopping => tracing::info!("stopped"),
        _ = signalled() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

/// Loads the plugins, which may take its time, then starts the router.
async fn start(factory: &PolicyFactory, config: CheckedConfig) -> Result<RunningRouter, ServeError> {
    load_plugins(factory, &config).await?;
    let metrics = Arc::new(Metrics::new());
    plugin_metrics::register(factory, &metrics);
    Ok(RunningRouter::start(config, factory, metrics).await?)
}

/// Warns of what does not keep the router from starting, but is hardly intended.
fn warn_of_surroundings(config: &CheckedConfig) {
    for Oddity { key, file, text, .. } in oddities(config) {
        match file {
            Some(file) => tracing::warn!(file, "{text}"),
            None => tracing::warn!("{key}: {text}"),
        }
    }
    let cache = config.aot_cache.as_deref();
    if let Some((dir, error)) = cache.and_then(|dir| Some((dir, aot_cache::fault(dir)?))) {
        let dir = shown_path(dir);
        tracing::warn!(%dir, %error, "compiled modules cannot be kept here; no plugin will load until that is mended");
    }
}

/// Loads the plugins of the configuration into the factory, one after the other: compiling uses all
/// cores by itself. An unusable one of the plugin directory does not keep others from serving: it is an
/// error only if it is the policy.
async fn load_plugins(factory: &PolicyFactory, config: &CheckedConfig) -> Result<(), ServeError> {
    for FaultyPlugin { name, file, faults, .. } in &config.faulty_plugins {
        let error = Faults(faults.clone()).in_one_line();
        tracing::error!(plugin = shown(name), file, error, "not loaded: its settings cannot be used");
    }
    let registry = Arc::new(RegistryModules::new(&config.registry));
    let sources = ModuleSources { registry, ..ModuleSources::default() };
    for plugin in &config.plugins {
        let is_needed = plugin.name == config.policy || !config.is_in_plugin_dir(plugin);
        let file = shown(&plugin.module_path);
        let (settings, options) = plugin.clone().into_parts();
        let (name, page) = (settings.name.clone(), settings_page(&settings.module_path));
        let loaded = match sources.load_of(settings, factory).await {
            Ok(load) => factory.load(load.with(options)).await.map_err(ManageError::from),
            Err(error) => Err(error),
        };
        match loaded {
            Ok(info) => tracing::info!(plugin = name, generation = info.generation, "loaded"),
            Err(source) if is_needed => {
                return Err(ServeError::Plugin { name, page, source: Box::new(source) });
            }
            Err(source) => {
                let error = in_full(&source);
                tracing::error!(plugin = name, file, error, "not loaded: the module cannot be used");
            }
        }
    }
    Ok(())
}
