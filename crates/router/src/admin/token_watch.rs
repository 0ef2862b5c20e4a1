//! Follows the file that holds the operators' token.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::admin::guard::TokenDigest;
use crate::config::admin_token::read_admin_token;
use crate::manage::followed_file::follow;
use sglang_router_rs::types::shown_path;

/// Looks until told to stop. A file that cannot be read, or holds none, leaves the token before.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn watch(token: TokenDigest, path: PathBuf, stop: CancellationToken) {
    let file = path.clone();
    let changed = move || {
        let shown = shown_path(&path);
        match read_admin_token(&path) {
            Ok(text) if text.is_empty() => {
                tracing::error!(file = %shown, "it holds no operators' token; the one before goes on");
            }
            Ok(text) => {
                token.set(&text);
                tracing::info!(file = %shown, "reloaded the operators' token");
            }
            Err(error) => {
                tracing::error!(file = %shown, %error, "operators' token not reloaded; the one before goes on");
            }
        }
    };
    follow(&file, stop, changed).await;
}
