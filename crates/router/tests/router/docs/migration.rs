//! The tables of the page for those who come from other routers are made from the lists of the parser.

use sgl_router::cli::foreign::{changed_defaults, flag_table, policy_table};

use crate::docs::pages;

const PAGE: &str = "docs/migration.md";

/// Headings, with the tables that are below them.
fn tables() -> [(&'static str, String); 3] {
    [("Flags", flag_table()), ("Other defaults", changed_defaults()), ("Policies", policy_table())]
}

/// The page with its tables made anew.
fn made_anew(page: &str) -> String {
    let mut made = page.to_owned();
    for (heading, table) in tables() {
        let section = made.find(&format!("\n## {heading}\n")).expect("the heading") + 1;
        let start = section + made[section..].find("\n| ").expect("a table") + 1;
        let length = made[start..].find("\n\n").unwrap_or(made[start..].trim_end().len());
        made.replace_range(start..start + length, table.trim_end());
    }
    made
}

#[test]
fn tables_of_the_migration_page_are_those_of_the_parser() {
    let page = pages::read(PAGE);
    let made = made_anew(&page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(pages::root().join(PAGE), made).expect("a document that can be written");
        return;
    }
    let differs = made.lines().zip(page.lines()).find(|(made, found)| made != found);
    assert!(
        made == page,
        "the tables of {PAGE} are not up to date, see {differs:?}; `UPDATE=1 cargo test --workspace \
         --all-features --test router docs` makes them anew"
    );
}
