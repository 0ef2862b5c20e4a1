//! Modules of registries, for commands that end with an error of theirs.

use crate::cli::plugin::command_error::CommandError;
use crate::cli::registry_reading::module_bytes;
use sgl_oci::{ModuleReference, RegistryClient};
use sglang_router_rs::policies::ModuleBytes;

/// Reads a module from its registry.
///
/// # Errors
///
/// [`CommandError::Registry`].
///
/// # Cancel safety
///
/// Dropping the future hangs up.
pub(crate) async fn pulled(
    client: &RegistryClient,
    reference: &ModuleReference,
) -> Result<ModuleBytes, CommandError> {
    Ok(module_bytes(&client.pull(reference).await?))
}
