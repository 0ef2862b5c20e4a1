//! Swaps over the operators' API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::cli::load::args::LoadArgs;
use crate::cli::load::error::LoadError;
use crate::cli::plugin::client::{AdminClient, Call, encoded, module_type};
use sgl_api::{PluginView, Pushed};
use sgl_tools::load::{Swapper, Swapping};
use sglang_router_rs::types::shown_path;

/// A router that takes longer for a swap counts as lost.
const SWAP_LIMIT: Duration = Duration::from_secs(60);

/// Replaces one plugin of a running router.
#[derive(Debug)]
pub(crate) struct PluginSwapper {
    client: AdminClient,
    path: String,
    modules: Vec<Bytes>,
}

impl PluginSwapper {
    /// Reads the modules and makes sure that the router has such a plugin: a wrong name would
    /// load a plugin that no request meets. None if the flags ask for no swaps.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] for a file that cannot be read, [`LoadError::Swaps`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub(crate) async fn open(args: &LoadArgs) -> Result<Option<Arc<dyn Swapper>>, LoadError> {
        let Some(name) = &args.swap_plugin else { return Ok(None) };
        let mut modules = Vec::new();
        for path in &args.swap_module {
            let unreadable =
                |error| LoadError::Usage(format!("--swap-module: {}: {error}", shown_path(path)));
            modules.push(Bytes::from(tokio::fs::read(path).await.map_err(unreadable)?));
        }
        let token = std::env::var(&args.admin_token_env).ok();
        let client =
            AdminClient::at(&args.admin_url, token, &args.ca_cert_paths).map_err(LoadError::Swaps)?;
        let path = format!("/v1/plugins/{}", encoded(name));
        let _: PluginView =
            client.json(Call::new(Method::GET, path.as_str())).await.map_err(LoadError::Swaps)?;
        Ok(Some(Arc::new(Self { client, path, modules })))
    }
}

impl Swapper for PluginSwapper {
    fn swap(&self, module: usize) -> Swapping<'_> {
        Box::pin(async move {
            let body = self.modules.get(module).cloned().unwrap_or_default();
            let headers = vec![module_type()];
            let call = Call { body, headers, ..Call::new(Method::PUT, self.path.as_str()) };
            match tokio::time::timeout(SWAP_LIMIT, self.client.json::<Pushed>(call)).await {
                Ok(pushed) => pushed.map(|pushed| pushed.generation).map_err(|error| error.to_string()),
                Err(_) => Err(format!("not done within {SWAP_LIMIT:?}")),
            }
        })
    }
}
