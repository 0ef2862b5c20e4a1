//! Puts a router together and runs it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::middleware;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin::audit::Audit;
use crate::admin::configuration::ConfigDoor;
use crate::admin::fleet as admin_fleet;
use crate::admin::guard::Guard;
use crate::admin::host_rule::HostRule;
use crate::admin::kept_workers::KeptWorkers;
use crate::admin::plugins::{blindness, fleet_guard};
use crate::admin::who::ChangeLog;
use crate::admin::workers::Workers;
use crate::admin::{
    audit, client_side, configuration, decisions, engine_metrics, extract, fan_out, guard, listener,
    metrics_page, openapi, page, plugins, policy, queue, sessions, status, token_watch, who, worker_aliases,
    worker_drains, worker_sources, workers,
};
use crate::cli::front_listener::FrontListener;
use crate::cli::request_logs::{open_access_log, open_audit, open_recorder, open_traces};
use crate::cli::start_error::{ListenAddress, StartError};
use crate::cli::version;
use crate::config::TokenizerEntry;
use crate::config::checked::CheckedConfig;
use crate::fleet;
use crate::fleet::{FleetBoard, FleetParts};
use crate::manage::cache_tending::tend_cache;
use crate::manage::dir_watch::DirWatch;
use crate::manage::embedded::{load_of, settings_page};
use crate::manage::policy_metrics;
use crate::manage::registry_modules::RegistryModules;
use crate::manage::restore::{keep_up, restore};
use crate::manage::state_dir::StateDir;
use crate::manage::{PluginManager, PolicySwitch};
use crate::metrics::Metrics;
use crate::proxy::DataPlane;
use crate::proxy::client_keys;
use crate::proxy::source_reports::SourceReports;
use crate::sources;
use crate::tls::{CertificateWatch, ListenerTls};
use crate::tokens::TokenizerSet;
use sglang_router_rs::policies::{PolicyFactory, TrustPolicy};

/// A router that serves. If dropped, it stops in the background.
#[derive(Debug)]
pub struct RunningRouter {
    proxy: Arc<DataPlane>,
    manager: Arc<PluginManager>,
    audit: Arc<Audit>,
    certificates: Arc<CertificateWatch>,
    config_door: Arc<ConfigDoor>,
    addresses: Addresses,
    stop_data: DropGuard,
    stop_operations: DropGuard,
    data: JoinHandle<()>,
    operations: Vec<JoinHandle<()>>,
}

/// Where a router listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub data: SocketAddr,
    /// For Prometheus.
    pub metrics: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

impl RunningRouter {
    /// Starts a router: when it returns, all listeners are bound. The policy comes from `factory`, into
    /// which plugins were loaded before.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing running.
    pub async fn start(
        config: CheckedConfig,
        factory: &PolicyFactory,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        // The same rules may have judged the plugins loaded before; from here on they judge what comes
        // from the state directory.
        factory.set_trust(TrustPolicy::new(config.trust.clone()));
        // Boxed: it is most of what the whole takes, and over before the rest begins.
        let manager = Box::pin(open_manager(&config, factory)).await?;
        let watch = start_watch(&config, &manager)?;
        let configured = factory
            .create_by_name(&config.policy)
            .ok_or_else(|| StartError::Policy { name: config.policy.clone() })?;
        metrics.register(version::tell_build);
        let recorder = open_recorder(config.records, &metrics)?;
        let http2 = config.proxy.http2.over_tls;
        let versions: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        let data_tls = ListenerTls::of(config.tls.data, versions)?;
        let metrics_tls = ListenerTls::of(config.tls.metrics, &[b"http/1.1"])?;
        let admin_tls = ListenerTls::of(config.tls.admin, &[b"http/1.1"])?;
        let proxy = DataPlane::new(config.proxy, configured, &metrics, recorder.clone());
        open_access_log(config.access_log, &proxy, &metrics)?;
        let spans = open_traces(config.traces, &proxy, &metrics)?;
        let audit = open_audit(config.audit_file, &proxy, &manager)?;
        let listening = [
            (config.data_address, "clients"),
            (config.metrics_address, "metrics"),
            (config.admin_address, "operators"),
        ];
        let [of_clients, of_metrics, of_operators] = listening;
        let failed = |source| StartError::listening(of_clients, &listening, source);
        let address = config.data_address;
        load_tokenizers(&proxy, config.tokenizers).await?;
        let picker = config.picker.map(|settings| (settings, factory, &*metrics));
        let server = FrontListener::bind(address, &proxy, data_tls.clone(), picker).await.map_err(failed)?;
        let data = server.address().map_err(failed)?;
        let (metrics_listener, metrics_address) = bind(of_metrics, &listening).await?;
        let (admin_listener, admin) = bind(of_operators, &listening).await?;
        let listeners = [("clients", &data_tls), ("metrics", &metrics_tls), ("operators", &admin_tls)];
        let certificates = CertificateWatch::of(listeners, proxy.backends().tls(), &metrics)?;
        proxy.backends().add_all(&config.workers)?;
        let switch = PolicySwitch::new(
            Arc::clone(proxy.placing()),
            Arc::clone(&manager),
            config.policy.clone(),
            config.state_dir.as_deref(),
        );
        let switch = Arc::new(switch);
        policy_metrics::register(proxy.placing(), switch.ends(), &metrics);
        // Boxed: it may load a module, which takes much more than the rest.
        Box::pin(switch.restore()).await;
        let kept = config.state_dir.as_deref().map(|dir| Arc::new(KeptWorkers::open(dir)));
        kept.iter().for_each(|kept| kept.add_all(proxy.backends()));
        let (stop_data, stop_operations) = (CancellationToken::new(), CancellationToken::new());
        let (board, following) = sources::start(config.sources, proxy.backends(), &metrics, &stop_operations);
        let board_of_fleet = FleetBoard::default();
        let joined = match config.fleet {
            Some(settings) => {
                let (manager, switch) = (Arc::clone(&manager), Arc::clone(&switch));
                let state_dir = config.state_dir.clone();
                let proxy = Arc::clone(&proxy);
                let parts = FleetParts { settings, manager, switch, proxy, state_dir, data, admin };
                Box::pin(fleet::start(parts, &board_of_fleet, &metrics, &stop_operations)).await?
            }
            None => Vec::new(),
        };
        let told = board.clone();
        proxy.tell_of_sources(SourceReports::new(move || told.reports()));
        let allowed = config.operations;
        let hosts = HostRule::new(admin.ip(), &allowed.admin_hosts, "admin.allowed_hosts");
        let guard = Guard::new(config.admin_token.as_deref(), hosts);
        let asks_token = status::AsksToken(config.admin_token.is_some());
        let token = guard.token().cloned();
        if let Some(token) = token.as_ref().filter(|_| proxy.settings().calls.worker_api) {
            let door =
                client_side::door(proxy.backends(), kept.as_ref(), token, &audit, allowed.body_timeout);
            proxy.open_worker_door(door);
        }
        let policies = policy::Policies { switch: Arc::clone(&switch), manager: Arc::clone(&manager) };
        let config_door = Arc::new(ConfigDoor::default());
        let aliases = Workers::new(Arc::clone(proxy.backends()), kept.clone());
        let of_fleet = middleware::from_fn_with_state(board_of_fleet.clone(), fleet_guard::check);
        let plugin_routes = plugins::routes(Arc::clone(&manager), Arc::clone(proxy.backends()));
        let plugin_routes = plugin_routes.route_layer(of_fleet);
        let admin_routes = workers::routes(Arc::clone(proxy.backends()), kept)
            .merge(worker_drains::routes(aliases.clone()))
            .merge(worker_aliases::routes(aliases))
            .merge(worker_sources::routes(board))
            .merge(admin_fleet::routes(board_of_fleet))
            .merge(fan_out::routes(Arc::clone(proxy.backends())))
            .merge(engine_metrics::routes(Arc::clone(proxy.backends())))
            .merge(plugin_routes)
            .merge(decisions::routes(recorder))
            .merge(queue::routes(Arc::clone(&proxy)))
            .merge(sessions::routes(Arc::clone(&proxy)))
            .merge(status::routes(Arc::clone(&proxy), Arc::clone(&manager), Arc::clone(&switch), asks_token))
            .merge(policy::routes(policies))
            .merge(configuration::routes(Arc::clone(&config_door)))
            .merge(audit::routes(Arc::clone(&audit)))
            .merge(openapi::routes())
            .fallback(extract::no_such_path)
            .method_not_allowed_fallback(extract::no_such_method)
            .layer(middleware::from_fn_with_state(guard, guard::check))
            .layer(middleware::from_fn_with_state(ChangeLog::new(Arc::clone(&audit)), who::log_changes))
            // Behind the guard there would be no page to give the token to.
            .merge(page::routes());
        let hosts = HostRule::new(metrics_address.ip(), &allowed.metrics_hosts, "metrics.allowed_hosts");
        let guard = Guard::new(None, hosts);
        let metrics_routes =
            metrics_page::routes(metrics).layer(middleware::from_fn_with_state(guard, guard::check));
        let mut operations = vec![
            tokio::spawn(listener::serve(
                metrics_listener,
                metrics_routes,
                allowed.clone(),
                metrics_tls,
                stop_operations.clone(),
            )),
            tokio::spawn(listener::serve(
                admin_listener,
                admin_routes,
                allowed,
                admin_tls,
                stop_operations.clone(),
            )),
        ];
        operations.extend(
            token
                .zip(config.admin_token_file)
                .map(|(token, file)| tokio::spawn(token_watch::watch(token, file, stop_operations.clone()))),
        );
        if !certificates.is_empty() {
            let keeping = Arc::clone(&certificates).keep(config.tls.look_interval, stop_operations.clone());
            operations.push(tokio::spawn(keeping));
        }
        operations.push(tokio::spawn(switch.supervise(stop_operations.clone())));
        operations.extend(spans.map(|spans| tokio::spawn(spans.run(stop_operations.clone()))));
        let (plugins, workers) = (Arc::clone(&manager), Arc::clone(proxy.backends()));
        operations.push(tokio::spawn(blindness::watch(plugins, workers, stop_operations.clone())));
        operations.extend(watch.map(|watch| tokio::spawn(watch.run(stop_operations.clone()))));
        let keys = proxy.client_keys().map(Arc::clone);
        operations.extend(keys.map(|keys| tokio::spawn(client_keys::watch(keys, stop_operations.clone()))));
        operations.extend(following);
        operations.extend(joined);
        operations.push(tokio::spawn(tend_cache(Arc::clone(&manager), stop_operations.clone())));
        if manager.keeps() {
            operations.push(tokio::spawn(keep_up(Arc::clone(&manager), stop_operations.clone())));
        }
        Ok(Self {
            proxy,
            manager,
            audit,
            certificates,
            config_door,
            addresses: Addresses { data, metrics: metrics_address, admin },
            data: tokio::spawn(server.serve(stop_data.clone())),
            stop_data: stop_data.drop_guard(),
            stop_operations: stop_operations.drop_guard(),
            operations,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The data plane.
    pub fn proxy(&self) -> &Arc<DataPlane> {
        &self.proxy
    }

    /// What changes its plugins.
    pub fn manager(&self) -> &Arc<PluginManager> {
        &self.manager
    }

    /// What operators changed.
    pub(crate) fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// The certificates that it shows, and follows.
    pub(crate) fn certificates(&self) -> &Arc<CertificateWatch> {
        &self.certificates
    }

    /// The operators' way to reading the configuration again.
    pub(crate) fn config_door(&self) -> &Arc<ConfigDoor> {
        &self.config_door
    }

    /// Stops accepting connections and being ready; requests in flight go on.
    pub fn stop(&self) {
        self.stop_data.token().cancel();
    }

    /// Stops it, and waits until requests in flight have finished or the configured time for them is
    /// over. Metrics can be read until then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future goes on stopping in the background, but the listeners of operations
    /// stay open.
    pub async fn shut_down(self) {
        self.stop();
        // Fails only if the task panicked, which was reported when it happened.
        let _ = self.data.await;
        drop(self.stop_operations);
        for task in self.operations {
            let _ = task.await;
        }
    }
}

/// The manager of the factory's plugins, with those of the state directory loaded.
async fn open_manager(
    config: &CheckedConfig,
    factory: &PolicyFactory,
) -> Result<Arc<PluginManager>, StartError> {
    let manager = PluginManager::new(factory.clone(), config.plugin_dir.clone(), &config.policy);
    let manager = manager.fetching(Arc::new(RegistryModules::new(&config.registry)));
    manager.set_configured(config.plugins.iter().map(|plugin| plugin.name.clone()).collect());
    manager.take_for_loaded();
    let Some(dir) = &config.state_dir else {
        load_embedded(config, factory).await?;
        return Ok(Arc::new(manager));
    };
    let (state, fault) = StateDir::open(dir)?;
    restore(&state, factory, &config.policy, &config.policy_settings).await?;
    load_embedded(config, factory).await?;
    match fault {
        Some(fault) if factory.create_by_name(&config.policy).is_none() => Err(fault.into()),
        fault => {
            if let Some(error) = fault {
                tracing::error!(%error, "plugins may be missing that the state directory should hold");
            }
            Ok(Arc::new(manager.keeping(state)))
        }
    }
}

/// Loads the embedded module of the policy, unless the policy is there already.
async fn load_embedded(config: &CheckedConfig, factory: &PolicyFactory) -> Result<(), StartError> {
    let Some(entry) = &config.embedded_policy else { return Ok(()) };
    if factory.create_by_name(&entry.name).is_some() {
        return Ok(());
    }
    let (settings, options) = entry.clone().into_parts();
    let (name, page) = (settings.name.clone(), settings_page(&settings.module_path));
    let loaded = match load_of(settings) {
        Ok(load) => factory.load(load.with(options)).await,
        Err(error) => Err(error),
    };
    let failed = |source| StartError::Embedded { name: name.clone(), page, source: Box::new(source) };
    let info = loaded.map_err(failed)?;
    tracing::info!(plugin = name, generation = info.generation, digest = info.digest, "loaded, embedded");
    Ok(())
}

/// Has prompts tokenized by these, in place of those before. Loading them takes its time.
///
/// # Errors
///
/// [`StartError::Tokenizers`]; those before go on then.
///
/// # Cancel safety
///
/// Dropping the future has them loaded all the same.
pub async fn load_tokenizers(proxy: &DataPlane, entries: Vec<TokenizerEntry>) -> Result<(), StartError> {
    let tokenizing = Arc::clone(proxy.tokenizing());
    let loading = tokio::task::spawn_blocking(move || {
        let set = TokenizerSet::load(&entries, tokenizing.settings().cache_bytes, &tokenizing.set())?;
        tokenizing.replace(set);
        Ok(())
    });
    // It panics for nothing that files may hold.
    loading.await.unwrap_or(Ok(())).map_err(StartError::Tokenizers)
}

fn start_watch(config: &CheckedConfig, manager: &Arc<PluginManager>) -> Result<Option<DirWatch>, StartError> {
    let Some(dir) = config.plugin_dir.as_ref().filter(|_| config.watch_plugin_dir) else { return Ok(None) };
    let failed = |source| StartError::Watch { dir: dir.clone(), source };
    DirWatch::new(dir, Arc::clone(manager), not_loaded(config, manager)).map(Some).map_err(failed)
}

/// Modules of the plugin directory that failed to load at the start, which the log already says.
fn not_loaded(config: &CheckedConfig, manager: &PluginManager) -> BTreeSet<PathBuf> {
    let bad = config.plugins.iter().filter(|plugin| manager.detail(&plugin.name).is_err());
    let bad = bad.map(|plugin| PathBuf::from(&plugin.module_path));
    bad.chain(config.faulty_plugins.iter().map(|plugin| PathBuf::from(&plugin.file))).collect()
}

async fn bind(one: ListenAddress, all: &[ListenAddress]) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::listening(one, all, source);
    let listener = TcpListener::bind(one.0).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
