//! Sources of workers for people.

use crate::cli::plugin::table::table;
use crate::cli::status::seconds;
use sgl_api::{SourceList, SourceView};
use sglang_router_rs::types::printable;

const HEAD: [&str; 6] = ["SOURCE", "NAME", "STATE", "AGE", "WORKERS", "SERVING"];

const MEMBER_HEAD: [&str; 3] = ["WORKER", "STATE", "ID"];

/// A table of the sources, one of the workers that do not serve, and why a source is not answered.
pub(crate) fn sources_page(list: &SourceList) -> String {
    let mut text = table(&HEAD, &list.sources.iter().map(row).collect::<Vec<_>>());
    for source in &list.sources {
        if let Some(fault) = &source.fault {
            text.push_str(&format!("\n{}: {}\n", printable(&source.name), printable(fault)));
        }
    }
    let members = list.sources.iter().flat_map(|source| &source.members);
    let others = members.filter(|member| member.state != "serving");
    let rows: Vec<Vec<String>> = others
        .map(|member| vec![member.url.clone(), member.state.replace('_', " "), member.id.clone()])
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&MEMBER_HEAD, &rows));
    }
    text
}

fn row(source: &SourceView) -> Vec<String> {
    let serving = source.members.iter().filter(|member| member.state == "serving").count();
    // Shown to the millisecond only by JSON.
    #[expect(clippy::cast_precision_loss, reason = "a time of some days at most")]
    let age = source.age_ms.map(|ms| seconds(Some(ms as f64 / 1000.0)));
    vec![
        source.source.clone(),
        source.name.clone(),
        source.state.clone(),
        age.unwrap_or_else(|| "never".to_owned()),
        source.members.len().to_string(),
        serving.to_string(),
    ]
}
