//! Every relative link leads to a file, and every anchor to a heading.

use std::path::{Path, PathBuf};

use crate::docs::pages;

/// The targets of the links and pictures in a document's prose.
pub(super) fn targets(page: &str) -> Vec<String> {
    let prose = pages::prose(page);
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchor of a heading, as Git hosts make it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a document's headings, in their order.
pub(super) fn anchors(page: &str) -> Vec<String> {
    let prose = pages::prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

fn fault(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
    let file =
        if path.is_empty() { document.to_owned() } else { document.parent().expect("a folder").join(path) };
    if !file.exists() {
        return Some(format!("{}: {target} leads nowhere", document.display()));
    }
    let known = wanted.is_empty() || anchors(&pages::read(&file)).iter().any(|anchor| anchor == wanted);
    (!known).then(|| format!("{}: {target} has no such heading", document.display()))
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let mut documents: Vec<PathBuf> = pages::documents();
    for folder in ["plugins", "deploy"] {
        documents.extend(pages::files(folder, "README.md"));
    }
    let mut checked = 0;
    let mut faults = Vec::new();
    for document in &documents {
        let targets = targets(&pages::read(document));
        checked += targets.len();
        faults.extend(targets.iter().filter_map(|target| fault(document, target)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 40, "only {checked} links were found");
}

#[test]
fn link_to_a_missing_file_or_heading_is_found() {
    let readme = pages::root().join("README.md");
    assert!(fault(&readme, "docs/nowhere.md").is_some());
    assert!(fault(&readme, "docs/operations.md#no-such-heading").is_some());
    assert!(fault(&readme, "docs/operations.md#metrics").is_none());
}
