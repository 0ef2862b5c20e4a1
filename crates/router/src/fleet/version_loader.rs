//! Brings versions of the fleet into use: fetched, verified, compiled and warm first; then one pointer.

use std::sync::Arc;

use crate::fleet::held_plugin::{HeldPlugin, HeldVersion, in_role};
use crate::fleet::own_version::OwnVersion;
use crate::manage::desired_load::DesiredLoad;
use crate::manage::digest::sha256;
use crate::manage::embedded;
use crate::manage::module_sources::UPLOADED;
use crate::manage::registry_modules::TagMeaning;
use crate::manage::{ManageError, PluginManager, PolicySwitch, Settings, SwitchError};
use sgl_fleet::FleetStateError;
use sgl_fleet::connection::FleetConnection;
use sgl_fleet::desired_plugin::{ModulePlace, PluginTarget};
use sgl_fleet::modules;
use sgl_fleet::presence::FailedGeneration;
use sgl_oci::RegistryError;
use sglang_router_rs::config::{Rollout, ShadowOptions};
use sglang_router_rs::policies::{GenerationRole, ModuleBytes, Origin};

/// Decisions of which what is warm is shown one: enough to see it fail on real requests.
const SHADOW_EVERY: u32 = 100;

/// Why a version could not be brought into use.
#[derive(Debug, thiserror::Error)]
enum LoadFault {
    #[error(transparent)]
    Fleet(#[from] FleetStateError),
    #[error(transparent)]
    Manage(#[from] ManageError),
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error("the module is sha256:{found}; the fleet is to serve sha256:{wanted}")]
    Digest { wanted: String, found: String },
    #[error(
        "it goes on here: what this router served before the fleet did cannot be had again: {0}; `sgl-router plugin push --local` gives this router something else"
    )]
    OwnGone(String),
}

impl From<RegistryError> for LoadFault {
    fn from(error: RegistryError) -> Self {
        Self::Manage(error.into())
    }
}

impl LoadFault {
    /// True if it says nothing against the version: the module could not be had now.
    fn is_passing(&self) -> bool {
        match self {
            Self::Fleet(FleetStateError::NoModule { .. }) => true,
            Self::Fleet(error) => error.is_passing(),
            Self::Manage(ManageError::Registry(error)) => error.is_passing(),
            Self::Manage(ManageError::State(_) | ManageError::Stopping) => true,
            Self::Manage(_) | Self::Switch(_) | Self::Digest { .. } | Self::OwnGone(_) => false,
        }
    }
}

/// What is to be done about one plugin, owned: it is done while the fleet goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnedWanted {
    pub(crate) serve: Option<PluginTarget>,
    pub(crate) prepare: Option<PluginTarget>,
}

impl OwnedWanted {
    /// True if that is how it is, or the part that is not has failed for good.
    pub(crate) fn is_met_by(&self, held: &HeldPlugin) -> bool {
        let failed = |target: &PluginTarget| {
            held.failed.as_ref().is_some_and(|failed| failed.generation == target.generation)
        };
        let serves = match (&self.serve, &held.serving) {
            (Some(target), Some(serving)) => serving.is(target) || failed(target),
            (Some(target), None) => failed(target),
            // What cannot go stays, and failed to go.
            (None, Some(serving)) => failed(&serving.target),
            (None, None) => true,
        };
        let prepares = match (&self.prepare, &held.prepared) {
            (Some(target), Some(prepared)) => prepared.is(target) || failed(target),
            (Some(target), None) => failed(target),
            (None, prepared) => prepared.is_none(),
        };
        serves && prepares
    }
}

/// Brings versions into use.
#[derive(Clone, Debug)]
pub(crate) struct VersionLoader {
    pub(crate) manager: Arc<PluginManager>,
    pub(crate) switch: Arc<PolicySwitch>,
    pub(crate) connection: FleetConnection,
}

impl VersionLoader {
    /// Does what is wanted of a plugin; gives what is held then. What fails is noted in it.
    ///
    /// # Cancel safety
    ///
    /// Do not drop it: what is loaded may be lost.
    pub(crate) async fn bring(&self, name: &str, mut held: HeldPlugin, wanted: OwnedWanted) -> HeldPlugin {
        held.failed = None;
        let served = match &wanted.serve {
            Some(target) => self.serve(name, &mut held, target).await,
            None => self.serve_nothing(name, &mut held).await,
        };
        let stays = held.serving.as_ref().map(|serving| &serving.target);
        let generation = wanted.serve.as_ref().or(stays).map_or(0, |target| target.generation);
        if let Err(fault) = served {
            note(name, &mut held, generation, &fault);
            return held;
        }
        let Some(target) = &wanted.prepare else {
            if let Some(warm) = held.prepared.take() {
                self.drop_warm(name, &warm, held.serving.is_none()).await;
            }
            return held;
        };
        if held.prepared.as_ref().is_none_or(|prepared| !prepared.is(target)) {
            held.prepared = None;
            let every = SHADOW_EVERY;
            match self.load(name, target, Rollout::Shadow(ShadowOptions { every })).await {
                Ok(version) => held.prepared = Some(version),
                Err(fault) => note(name, &mut held, target.generation, &fault),
            }
        }
        held
    }

    async fn serve(&self, name: &str, held: &mut HeldPlugin, target: &PluginTarget) -> Result<(), LoadFault> {
        let left = held.serving.clone();
        if left.is_none() {
            let warm = held.prepared.as_ref().map(|prepared| prepared.local);
            let own = self.manager.serving(name).filter(|info| Some(info.generation) != warm);
            held.own = own.as_ref().map(OwnVersion::of);
        }
        let version = match held.serving.as_ref().filter(|serving| serving.target.is_like(target)) {
            // The same, under another number.
            Some(serving) if !held.is_diverged => {
                HeldVersion { target: target.clone(), local: serving.local }
            }
            _ => self.take_over(name, held, target).await?,
        };
        held.prepared.take_if(|prepared| prepared.local == version.local);
        held.become_serving(version);
        if target.place {
            match self.switch.use_policy(name, None).await {
                Ok(()) | Err(SwitchError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        } else if let Some(left) = left.filter(|left| left.target.generation > target.generation)
            && left.target.place
        {
            self.policy_back(name, left.target.policy_before.as_deref()).await?;
        }
        Ok(())
    }

    /// Has the policy place again that placed before a generation of the fleet did, unless an operator chose
    /// another one here meanwhile.
    async fn policy_back(&self, name: &str, before: Option<&str>) -> Result<(), LoadFault> {
        if !self.manager.is_in_use(name) || before == Some(name) {
            return Ok(());
        }
        if let Some(policy) = before {
            match self.switch.use_policy(policy, None).await {
                Ok(()) | Err(SwitchError::InUse { .. }) => return Ok(()),
                Err(error) => tracing::warn!(
                    plugin = name, policy, %error,
                    "the policy from before the fleet's cannot be used here; this router's own from before is"
                ),
            }
        }
        match self.switch.roll_back().await {
            // It is the policy of the configuration.
            Ok(()) | Err(SwitchError::NothingBefore) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn take_over(
        &self,
        name: &str,
        held: &mut HeldPlugin,
        target: &PluginTarget,
    ) -> Result<HeldVersion, LoadFault> {
        if let Some(prepared) = held.prepared.as_ref().filter(|prepared| prepared.is(target)).cloned()
            && self.promoted(name, prepared.local).await?
        {
            return Ok(prepared);
        }
        let before = held.before.as_ref().filter(|before| before.target.is_like(target));
        if let Some(local) = before.map(|before| before.local)
            && self.went_back(name, local).await
        {
            return Ok(HeldVersion { target: target.clone(), local });
        }
        self.load(name, target, Rollout::Immediate).await
    }

    /// Makes what is warm serve; false if it is not there any more.
    async fn promoted(&self, name: &str, local: u64) -> Result<bool, LoadFault> {
        let Ok(detail) = self.manager.detail(name) else { return Ok(false) };
        let has = |role| in_role(&detail, role).is_some_and(|generation| generation.generation == local);
        if has(GenerationRole::Stable) {
            return Ok(true);
        }
        if !has(GenerationRole::Shadow) {
            return Ok(false);
        }
        self.manager.promote(name).await?;
        Ok(true)
    }

    /// Goes back to the generation before, if that is this one and still warm.
    async fn went_back(&self, name: &str, local: u64) -> bool {
        let Ok(detail) = self.manager.detail(name) else { return false };
        let previous = in_role(&detail, GenerationRole::Previous).map(|generation| generation.generation);
        if previous != Some(local) || self.manager.roll_back(name).await.is_err() {
            return false;
        }
        let now = self.manager.detail(name).ok();
        let stable = now.as_ref().and_then(|detail| in_role(detail, GenerationRole::Stable));
        stable.is_some_and(|generation| generation.generation == local)
    }

    async fn load(
        &self,
        name: &str,
        target: &PluginTarget,
        rollout: Rollout,
    ) -> Result<HeldVersion, LoadFault> {
        let settings = Settings::new(target.settings.clone())?;
        let serves = self.manager.serving(name);
        let known = serves.filter(|info| info.digest == target.digest && !info.config.module_path.is_empty());
        let (module, path) = match known {
            // Only the settings differ: nothing is fetched or compiled.
            Some(info) => (None, info.config.module_path),
            None => {
                let (module, path) = self.fetched(target).await?;
                (Some(module), path)
            }
        };
        let load = DesiredLoad { name, module, path, settings: &settings, rollout };
        let info = self.manager.load_desired(load).await?;
        Ok(HeldVersion { target: target.clone(), local: info.generation })
    }

    /// The module, held to its digest wherever it comes from. One that the program brings along is not fetched.
    async fn fetched(&self, target: &PluginTarget) -> Result<(ModuleBytes, String), LoadFault> {
        let (module, path) = match &target.module {
            ModulePlace::Oci(reference) => {
                let registry = &self.manager.sources().registry;
                registry.fetch(reference, TagMeaning::Known, self.manager.factory()).await?
            }
            ModulePlace::Store => match embedded::module_of(&target.digest) {
                Some(own) => own.map_err(ManageError::from)?,
                None => {
                    let kept = modules::kept_module(&self.connection, &target.digest).await?;
                    let modules::FleetModule { wasm, signature } = kept;
                    (ModuleBytes { wasm, signature, origin: Origin::Push }, UPLOADED.to_owned())
                }
            },
        };
        let found = sha256(&module.wasm);
        if found != target.digest {
            return Err(LoadFault::Digest { wanted: target.digest.clone(), found });
        }
        Ok((module, path))
    }

    /// What the fleet gave goes: the router serves what it had itself, or nothing.
    async fn serve_nothing(&self, name: &str, held: &mut HeldPlugin) -> Result<(), LoadFault> {
        let Some(serving) = &held.serving else { return Ok(()) };
        if serving.target.place {
            self.policy_back(name, serving.target.policy_before.as_deref()).await?;
        }
        match &held.own {
            // What an operator gave this router alone stays.
            _ if held.is_diverged => {}
            Some(own) => self.own_again(name, own).await?,
            None => self.unloaded(name).await?,
        }
        held.become_own();
        Ok(())
    }

    /// Serves what this router had itself: the generation before while it is warm, else read again.
    async fn own_again(&self, name: &str, own: &OwnVersion) -> Result<(), LoadFault> {
        if self.went_back(name, own.local).await {
            return Ok(());
        }
        let gone = |reason: String| LoadFault::OwnGone(reason);
        let source =
            own.source().ok_or_else(|| gone("its module was sent to it and is not kept".to_owned()))?;
        let read = self.manager.sources().of_configuration(source.to_owned(), self.manager.factory()).await;
        let (module, _) = read.map_err(|error| gone(error.to_string()))?;
        let found = sha256(&module.wasm);
        if found != own.digest {
            return Err(gone(format!("{source} is sha256:{found} now, and was sha256:{}", own.digest)));
        }
        let loaded = self.manager.load_again(own.config.clone(), own.options.clone(), module).await;
        loaded.map_err(|error| gone(error.to_string()))
    }

    /// Nothing serves under the name any more.
    async fn unloaded(&self, name: &str) -> Result<(), LoadFault> {
        // Somebody had this router place with it: a policy that is not there cannot.
        self.policy_back(name, None).await?;
        match self.manager.unload(name, false).await {
            Ok(()) | Err(ManageError::Operation(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops what was warm. Where nothing served it was loaded as what serves, and goes likewise.
    async fn drop_warm(&self, name: &str, warm: &HeldVersion, serves_nothing: bool) {
        let Ok(detail) = self.manager.detail(name) else { return };
        let has = |role| in_role(&detail, role).is_some_and(|found| found.generation == warm.local);
        let dropped = if has(GenerationRole::Shadow) {
            self.manager.roll_back(name).await
        } else if serves_nothing && has(GenerationRole::Stable) {
            self.manager.unload(name, false).await
        } else {
            return;
        };
        if let Err(error) = dropped {
            tracing::warn!(plugin = name, %error, "what was warm for a rollout that is over could not be dropped");
        }
    }
}

fn note(name: &str, held: &mut HeldPlugin, generation: u64, fault: &LoadFault) {
    let (reason, is_passing) = (fault.to_string(), fault.is_passing());
    tracing::warn!(
        plugin = name,
        generation,
        error = reason,
        is_passing,
        "a version of the fleet cannot be served here"
    );
    held.failed = Some(FailedGeneration { generation, reason, is_passing });
}
