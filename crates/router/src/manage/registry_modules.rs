//! Modules of registries: from the cache, or else from where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sgl_oci::{ModuleReference, PulledModule, RegistryClient, RegistryError, Sha256Digest};

use crate::config::registry_section::{CacheBounds, ModuleRegistrySettings};
use crate::manage::cache_pruning;
use crate::manage::kept_plugin::BadFile;
use crate::manage::module_cache::{CachedModule, ModuleCache};
use sglang_router_rs::policies::trust::signing;
use sglang_router_rs::policies::{ModuleBytes, Origin, PolicyFactory};

/// What a tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagMeaning {
    /// What it was found to stand for when it was asked for first: the configuration names the same module at
    /// each start, however the tag is moved.
    Known,
    /// What it stands for now: an operator asks.
    Now,
}

/// Modules of registries.
///
/// # Concurrency
///
/// The lock is held to copy a digest. Two who fetch the same module at once both fetch it, and keep the same.
#[derive(Debug, Default)]
pub(crate) struct RegistryModules {
    client: RegistryClient,
    cache: Option<ModuleCache>,
    bounds: CacheBounds,
    /// What tags were found to stand for, where there is no cache to keep it.
    pins: Mutex<BTreeMap<String, Sha256Digest>>,
}

impl RegistryModules {
    /// With these settings.
    pub(crate) fn new(settings: &ModuleRegistrySettings) -> Self {
        let cache = settings.cache.as_deref().map(ModuleCache::new);
        let client = RegistryClient::new(settings.client.clone());
        Self { client, cache, bounds: settings.bounds, pins: Mutex::default() }
    }

    /// The module of a reference, and the reference by its digest. The registry is asked if the cache has no
    /// such module, or none that the rules about signatures take: a signature may have come since.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        text: &str,
        tag: TagMeaning,
        factory: &PolicyFactory,
    ) -> Result<(ModuleBytes, String), RegistryError> {
        let asked = ModuleReference::parse(text)?;
        let digest = match asked.digest() {
            Some(digest) => Some(digest),
            None if tag == TagMeaning::Known => self.pinned(&asked).await,
            None => None,
        };
        let wanted = digest.map_or_else(|| asked.clone(), |digest| asked.with_digest(digest));
        let kept = match digest {
            Some(digest) => self.kept(digest).await,
            None => None,
        };
        let kept = kept.map(|kept| module_of(kept, &wanted));
        if let Some(module) = kept.as_ref().filter(|module| factory.vouches_for(module).is_ok()) {
            tracing::info!(%asked, module = %wanted, "a module of a registry, from the cache");
            return Ok((module.clone(), wanted.to_string()));
        }
        let pulled = match self.client.pull(&wanted).await {
            Ok(pulled) => pulled,
            Err(error) => {
                let Some(module) = kept else { return Err(error) };
                tracing::warn!(module = %wanted, %error, "no newer signatures; what is kept is used as it is");
                return Ok((module, wanted.to_string()));
            }
        };
        let reference = pulled.reference.clone();
        tracing::info!(%asked, module = %reference, "a module of a registry, as it has it now");
        let module = module_of(self.keep(pulled, asked).await, &reference);
        Ok((module, reference.to_string()))
    }

    /// Notes what a reference with a tag and a digest says that the tag stands for: it serves.
    pub(crate) fn note(&self, text: &str) {
        let Ok(reference) = ModuleReference::parse(text) else { return };
        if let (Some(tag), Some(digest)) = (without_digest(&reference), reference.digest()) {
            self.pins.lock().insert(tag, digest);
        }
    }

    /// Marks these modules in the cache as used, and what tags stand for here, and removes what its bounds do not
    /// allow.
    ///
    /// # Cancel safety
    ///
    /// What has begun goes on.
    pub(crate) async fn prune(self: &Arc<Self>, mut named: BTreeSet<Sha256Digest>) {
        named.extend(self.pins.lock().values());
        let bounds = self.bounds;
        let prune = move |cache: &ModuleCache| cache_pruning::prune(cache, bounds, &named, SystemTime::now());
        if let Some(pruned) = self.in_cache(prune).await.filter(|pruned| pruned.bytes > 0) {
            let (modules, bytes) = (pruned.modules, pruned.bytes);
            tracing::info!(
                modules,
                bytes,
                "removed from the cache of registries' modules: nobody used them for long"
            );
        }
    }

    async fn pinned(self: &Arc<Self>, tag: &ModuleReference) -> Option<Sha256Digest> {
        if let Some(digest) = self.pins.lock().get(&tag.to_string()) {
            return Some(*digest);
        }
        let tag = tag.clone();
        self.in_cache(move |cache| cache.pin(&tag)).await.flatten()
    }

    async fn kept(self: &Arc<Self>, digest: Sha256Digest) -> Option<CachedModule> {
        self.in_cache(move |cache| cache.module(digest)).await.flatten()
    }

    /// Keeps what was read, and what the tag stands for if it was asked for.
    async fn keep(self: &Arc<Self>, pulled: PulledModule, asked: ModuleReference) -> CachedModule {
        let signature = signing::combine(&pulled.signatures);
        let module = CachedModule::of(&pulled.wasm, signature.clone());
        let digest = pulled.reference.digest();
        let tag = asked.digest().is_none().then_some(asked);
        if let (Some(tag), Some(digest)) = (&tag, digest) {
            self.pins.lock().insert(tag.to_string(), digest);
        }
        self.in_cache(move |cache| {
            cache.add(&pulled, signature.as_deref())?;
            match (tag, digest) {
                (Some(tag), Some(digest)) => cache.set_pin(&tag, digest),
                _ => Ok(()),
            }
        })
        .await;
        module
    }

    /// Does something with the cache, if there is one, on a thread that may block. What goes wrong is logged:
    /// the registry has the module too.
    async fn in_cache<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&ModuleCache) -> Result<T, BadFile> + Send + 'static,
    ) -> Option<T> {
        let cache = self.cache.clone()?;
        match tokio::task::spawn_blocking(move || work(&cache)).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the cache of registries' modules cannot be used here");
                None
            }
            // Only if the runtime ends.
            Err(_) => None,
        }
    }
}

fn module_of(kept: CachedModule, reference: &ModuleReference) -> ModuleBytes {
    let CachedModule { wasm, signature } = kept;
    ModuleBytes { wasm, signature, origin: Origin::Registry { reference: reference.to_string() } }
}

/// The same reference by its tag alone, if it has one.
fn without_digest(reference: &ModuleReference) -> Option<String> {
    reference.tag()?;
    reference.to_string().split_once('@').map(|(tag, _)| tag.to_owned())
}
