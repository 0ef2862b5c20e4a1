//! Brings versions of the fleet into use: fetched, verified, compiled and warm first; then one pointer.

use std::sync::Arc;

use crate::fleet::held_plugin::{HeldPlugin, HeldVersion, in_role};
use crate::manage::desired_load::DesiredLoad;
use crate::manage::digest::sha256;
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
            Self::Manage(_) | Self::Switch(_) | Self::Digest { .. } => false,
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
            (Some(target), Some(serving)) => serving.is(target),
            (None, None) => true,
            _ => false,
        };
        let serves = serves || self.serve.as_ref().is_some_and(failed);
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
        let generation = wanted.serve.as_ref().map_or(0, |target| target.generation);
        if let Err(fault) = served {
            note(name, &mut held, generation, &fault);
            return held;
        }
        let Some(target) = &wanted.prepare else {
            if let Some(warm) = held.prepared.take() {
                self.drop_warm(name, &warm).await;
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
        }
        Ok(())
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

    /// The module, held to its digest wherever it comes from.
    async fn fetched(&self, target: &PluginTarget) -> Result<(ModuleBytes, String), LoadFault> {
        let (module, path) = match &target.module {
            ModulePlace::Oci(reference) => {
                let registry = &self.manager.sources().registry;
                registry.fetch(reference, TagMeaning::Known, self.manager.factory()).await?
            }
            ModulePlace::Store => {
                let kept = modules::kept_module(&self.connection, &target.digest).await?;
                let modules::FleetModule { wasm, signature } = kept;
                (ModuleBytes { wasm, signature, origin: Origin::Push }, UPLOADED.to_owned())
            }
        };
        let found = sha256(&module.wasm);
        if found != target.digest {
            return Err(LoadFault::Digest { wanted: target.digest.clone(), found });
        }
        Ok((module, path))
    }

    /// What the fleet gave goes, where nothing was served before.
    async fn serve_nothing(&self, name: &str, held: &mut HeldPlugin) -> Result<(), LoadFault> {
        let Some(serving) = held.serving.take() else { return Ok(()) };
        if serving.target.place && self.manager.is_in_use(name) {
            self.switch.roll_back().await?;
        }
        // The configuration's own policy stays, whatever the fleet made of it.
        match self.manager.unload(name, false).await {
            Ok(()) | Err(ManageError::InUse { .. } | ManageError::Operation(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn drop_warm(&self, name: &str, warm: &HeldVersion) {
        let Ok(detail) = self.manager.detail(name) else { return };
        let shadow = in_role(&detail, GenerationRole::Shadow).map(|generation| generation.generation);
        if shadow == Some(warm.local)
            && let Err(error) = self.manager.roll_back(name).await
        {
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
