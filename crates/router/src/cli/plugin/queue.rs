//! `queue`: the requests that wait in the router.

use http::Method;

use crate::cli::plugin::args::QueueArgs;
use crate::cli::plugin::client::{AdminClient, Call};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::table::table;
use sgl_api::{QueueView, WaitingView};

/// Prints them, those who have waited longest first.
///
/// # Errors
///
/// [`CommandError`].
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub(crate) async fn run(client: &AdminClient, args: &QueueArgs, json: bool) -> Result<(), CommandError> {
    let path = format!("/v1/queue?limit={}", args.limit);
    let view: QueueView = client.json(Call::new(Method::GET, path)).await?;
    print(&view, json, page)
}

fn page(view: &QueueView) -> String {
    let QueueView { waiting, size, body_bytes, max_body_bytes, .. } = view;
    let mut text = format!(
        "{waiting} requests wait, {size} may; their bodies take {body_bytes} of {max_body_bytes} bytes\n"
    );
    if let (Some(served), Some(most)) = (view.served, view.max_concurrent_requests) {
        text.push_str(&format!("{served} requests are served, {most} may be\n"));
    }
    if !view.requests.is_empty() {
        text.push('\n');
        text.push_str(&table(&HEAD, &view.requests.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

const HEAD: [&str; 8] = ["FOR", "KEY", "WAITED", "LEFT", "ROUTE", "MODEL", "BYTES", "GENERATION"];

fn row(request: &WaitingView) -> Vec<String> {
    vec![
        request.plugin.as_deref().unwrap_or(request.waits_for.as_str()).to_owned(),
        request.key.map_or_else(|| "-".to_owned(), |key| key.to_string()),
        seconds(request.waited_ms),
        seconds(request.left_ms),
        request.route.clone(),
        request.model.clone().unwrap_or_else(|| "-".to_owned()),
        request.body_bytes.to_string(),
        request.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
    ]
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
