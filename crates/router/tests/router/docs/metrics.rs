//! The tables of metrics in the operations guide are those that the catalogue makes.

use std::collections::BTreeSet;

use sgl_router::internals::{METRIC_TABLES, Metric};

use crate::docs::pages;

const GUIDE: &str = "docs/operations.md";

/// The columns before these are the catalogue's; `details` and `look closer when` are written by hand.
const HEAD: &str =
    "| metric | kind | labels | what it is | details | look closer when |\n|---|---|---|---|---|---|\n";

/// How many columns are written by hand, at the end of a row.
const BY_HAND: usize = 2;

/// The part of a page that is the table below this heading.
fn table_below<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, metrics) = page.split_once("\n## Metrics\n").expect("the section on metrics");
    let (_, section) = metrics.split_once(&format!("\n### {heading}\n\n")).expect("the heading");
    section.split_once("\n\n").map_or(section, |(table, _)| table)
}

/// A row's cells.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// What is written by hand in the row of this metric, if it has one yet.
fn by_hand<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let row = table.lines().map(cells).find(|row| row.first() == Some(&name));
    let cells = row.filter(|row| row.len() > BY_HAND).map(|mut row| row.split_off(row.len() - BY_HAND));
    cells.unwrap_or_else(|| vec![""; BY_HAND])
}

fn row(metric: &Metric, before: &str) -> String {
    let name = format!("`{}`", metric.full_name());
    let kind = format!("{:?}", metric.kind).to_lowercase();
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = labels.join(", ");
    let mut cells = vec![name.as_str(), &kind, &labels, metric.help];
    cells.extend(by_hand(before, &name));
    let cells =
        cells.into_iter().map(|cell| if cell.is_empty() { " |".to_owned() } else { format!(" {cell} |") });
    format!("|{}\n", cells.collect::<String>())
}

/// The guide with its tables made anew.
fn made_anew(page: &str) -> String {
    let mut made = page.to_owned();
    for (heading, metrics) in METRIC_TABLES {
        let before = table_below(page, heading);
        let rows: String = metrics.iter().map(|metric| row(metric, before)).collect();
        made = made.replacen(before, format!("{HEAD}{rows}").trim_end(), 1);
    }
    made
}

#[test]
fn tables_of_metrics_are_those_of_the_catalogue() {
    let page = pages::read(GUIDE);
    let made = made_anew(&page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(pages::root().join(GUIDE), made).expect("a document that can be written");
        return;
    }
    let differs = made.lines().zip(page.lines()).find(|(made, found)| made != found);
    assert!(
        made == page,
        "the tables of {GUIDE} are not up to date, see {differs:?}; `UPDATE=1 cargo test --workspace \
         --all-features --test router docs` makes them anew and keeps what is written by hand"
    );
}

#[test]
fn names_of_metrics_are_used_once_and_help_fits_into_a_table() {
    let metrics = || METRIC_TABLES.into_iter().flat_map(|(_, metrics)| metrics);
    let names: BTreeSet<&str> = metrics().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics().count());
    assert!(metrics().all(|metric| !metric.help.contains('|') && !metric.name.ends_with("_total")));
}

#[test]
fn documents_name_no_metric_that_does_not_exist() {
    let prefix = format!("{}_", Metric::PREFIX);
    let metrics = || METRIC_TABLES.into_iter().flat_map(|(_, metrics)| metrics);
    for document in pages::documents() {
        let page = pages::read(&document);
        for rest in page.split(&prefix).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let name = name.strip_suffix("_total").unwrap_or(&name);
            let exists = metrics().any(|metric| metric.name == name);
            assert!(exists, "{}: there is no metric {prefix}{name}", document.display());
        }
    }
}

#[test]
fn no_metric_has_a_name_of_sglang_routers_and_the_nearest_are_told() {
    let ours: BTreeSet<String> =
        METRIC_TABLES.into_iter().flat_map(|(_, metrics)| metrics).map(Metric::full_name).collect();
    let text = pages::read("crates/router/tests/fixtures/other_routers/sglang_router_metrics.txt");
    let (mut theirs, mut nearest) = (BTreeSet::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, near) = line.split_once(' ').expect("a name and what is nearest");
        theirs.insert(name.to_owned());
        if near != "-" {
            assert!(ours.contains(near), "{name}: there is no {near}");
            nearest.push((name, near));
        }
    }
    assert!(theirs.len() > 40 && nearest.len() > 10, "{} names, {} pairs", theirs.len(), nearest.len());
    let shared: Vec<&String> = ours.intersection(&theirs).collect();
    assert!(shared.is_empty(), "labels and meaning would have to be the same: {shared:?}");
    let page = pages::read("docs/observability.md");
    for (name, near) in nearest {
        assert!(page.contains(&format!("`{name}` is `{near}`")), "{name} is nearest to {near}");
    }
}
