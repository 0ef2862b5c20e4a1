//! What holds of the sources as text. A file imports only from files and folders that are listed before
//! it, in its folder's `mod.rs` or in its crate's `lib.rs`; what a crate may know of another the compiler
//! holds. No name is the name of two types.
#![expect(clippy::indexing_slicing, reason = "numbers of files are positions in the list of files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file at most, its own tests included.
const MAX_LINES: usize = 400;

/// Roots of crates in which no ring of files may import one another.
const WITHOUT_RINGS: [&str; 25] = [
    "src",
    "crates/api/src",
    "crates/demo/src",
    "crates/envoy_module/src",
    "crates/fleet/src",
    "crates/oci/src",
    "crates/router/src",
    "crates/router/tests/router",
    "crates/simulate/src",
    "crates/testkit/src",
    "crates/tools/src",
    "crates/upstream/src",
    "crates/zmtp/src",
    "plugins/abi/src",
    "plugins/pd_pair/src",
    "plugins/prefix_affinity/src",
    "plugins/prompt_clock/src",
    "plugins/sdk/src",
    "tests/fuzz_targets/src",
    "tests/hostile",
    "tests/languages",
    "tests/wasm_policy_tests",
    "benches/micro",
    "benches/runs",
    "benches/peers/src",
];

/// Files above [`MAX_LINES`], and why.
const LONG: [(&str, &str); 1] =
    [("crates/router/src/proxy/event_stream.rs", "the half of it is tests of how a stream may be cut")];

/// Roots of what others build upon, ABI and SDK, and of the crates around them. No two of their types
/// have one name, private ones included: one that is private today may be seen tomorrow, and a reader
/// who searches for it finds one thing.
const LIBRARIES: [&str; 15] = [
    "src",
    "crates/api/src",
    "crates/envoy_module/src",
    "crates/fleet/src",
    "crates/oci/src",
    "crates/router/src",
    "crates/shipped/src",
    "crates/simulate/src",
    "crates/testkit/src",
    "crates/tools/src",
    "crates/upstream/src",
    "crates/zmtp/src",
    "plugins/abi/src",
    "plugins/prompt_clock/src",
    "plugins/sdk/src",
];

/// Roots of programs from outside, as an operator or a plugin's author would write them. Nobody
/// imports from them, so a name of theirs may be one of another crate's, but not twice their own.
const PROGRAMS: [&str; 23] = [
    "benches/micro",
    "benches/peers/src",
    "benches/runs",
    "crates/check_modules/src",
    "crates/demo/src",
    "plugins/cache_aware/src",
    "plugins/kv_aware/src",
    "plugins/late/src",
    "plugins/least_connections/src",
    "plugins/least_uncached/src",
    "plugins/least_work/src",
    "plugins/lmetric/src",
    "plugins/pd_pair/src",
    "plugins/prefix_affinity/src",
    "plugins/priority/src",
    "plugins/slo_aware/src",
    "plugins/sticky_least_loaded/src",
    "plugins/token_pools/src",
    "plugins/toll/src",
    "plugins/weighted_random/src",
    "plugins/weighted_scorers/src",
    "tests/fuzz_targets/src",
    "tests/layers/src",
];

/// A source file: where it is, and its code without comments and inline tests.
struct Source {
    path: String,
    lines: usize,
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("readable source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        Self {
            path: path.to_str().expect("a plain path").replace('\\', "/"),
            lines: text.lines().count(),
            code: ungrouped(&code.collect::<Vec<_>>().join("\n")),
        }
    }

    /// The folder below `src` that it is in; none for the crate's root files.
    fn layer(&self) -> Option<&str> {
        let mut parts = self.path.split_once("src/")?.1.split('/');
        let layer = parts.next()?;
        parts.next().map(|_| layer)
    }

    /// The folder whose modules it lists.
    fn lists(&self) -> Option<&str> {
        self.path.strip_suffix("/mod.rs").or_else(|| self.path.strip_suffix("/lib.rs"))
    }

    /// What follows `prefix` and two colons wherever it occurs: a module's name, or another's.
    fn named_after(&self, prefix: &str) -> Vec<&str> {
        let start = format!("{prefix}::");
        let rest = self.code.split(&start).skip(1);
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        rest.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default()).collect()
    }

    fn names(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    }
}

/// The name of the type that a line declares, wherever it stands: in a macro and in a function too. The
/// types of an `impl` or a trait, which stand further in and are not public, belong to that trait.
fn declared_type(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let (rest, is_public) = rest.strip_prefix("pub").map_or((rest, false), |rest| (rest, true));
    let rest = rest.strip_prefix('(').map_or(Some(rest), |scope| Some(scope.split_once(')')?.1))?;
    let (kind, rest) = rest.trim_start().split_once(' ')?;
    let is_type = match kind {
        "struct" | "enum" | "trait" => true,
        "type" => is_public || !line.starts_with(' '),
        _ => false,
    };
    is_type.then(|| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()).flatten()
}

/// The same code with an import of its own for each name of a group: `use a::{B, C};` as two.
fn ungrouped(code: &str) -> String {
    let mut parts = code.split("use ");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let group = part.split_once("::{").and_then(|(path, rest)| Some((path, rest.split_once("};")?)));
        match group.filter(|(path, _)| path.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':')) {
            Some((path, (names, rest))) => {
                // What stands before `use` says who may see it.
                let seen_by = all.rsplit('\n').next().unwrap_or_default().to_owned();
                let names: Vec<&str> =
                    names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
                let uses = names.iter().map(|name| format!("use {path}::{name};"));
                all.push_str(&uses.collect::<Vec<_>>().join(&format!("\n{seen_by}")));
                all.push_str(rest);
            }
            None => {
                all.push_str("use ");
                all.push_str(part);
            }
        }
    }
    all
}

fn sources() -> Vec<Source> {
    let mut found = sources_of("src");
    for member in fs::read_dir("crates").expect("the other crates") {
        let root = member.expect("an entry").path().join("src");
        found.extend(sources_of(root.to_str().expect("a plain path")));
    }
    found
}

fn sources_of(root: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(Path::new(root), &mut found);
    assert!(!found.is_empty(), "{root} has sources");
    found.iter().map(|path| Source::read(path)).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The modules that a `mod.rs` lists, in its order.
fn modules(code: &str) -> Vec<&str> {
    let declared = |line: &'_ str| -> Option<usize> {
        let rest = line.strip_suffix(';')?;
        let is_module = rest.starts_with("mod ") || (rest.starts_with("pub") && rest.contains(" mod "));
        is_module.then(|| rest.rfind(' ').map_or(0, |space| space + 1))
    };
    code.lines().filter_map(|line| declared(line).map(|start| &line[start..line.len() - 1])).collect()
}

#[test]
fn file_imports_only_siblings_listed_before_it() {
    let sources = sources();
    let mut faults = Vec::new();
    for (folder, index) in sources.iter().filter_map(|source| Some((source.lists()?, source))) {
        let order = modules(&index.code);
        let within = folder.split_once("src").map_or("", |(_, within)| within);
        let prefix = format!("crate{}", within.replace('/', "::"));
        for (at, module) in order.iter().enumerate() {
            let (file, inner) = (format!("{folder}/{module}.rs"), format!("{folder}/{module}/"));
            let own = |source: &&Source| source.path == file || source.path.starts_with(&inner);
            for source in sources.iter().filter(own) {
                let places = source.named_after(&prefix).into_iter();
                let later = places.filter(|named| order.iter().position(|known| known == named) > Some(at));
                faults.extend(later.map(|named| format!("{}: {prefix}::{named} comes later", source.path)));
            }
        }
    }
    none(&faults);
}

/// Who imports whom among the files of one crate. What a `mod.rs` only passes on is imported from
/// where it is defined.
struct Imports {
    root: &'static str,
    sources: Vec<Source>,
}

impl Imports {
    fn at(&self, path: &str) -> Option<usize> {
        self.sources.iter().position(|source| source.path == path)
    }

    /// The file that defines what a path behind `crate::` names.
    fn definition(&self, path: &str) -> Option<usize> {
        let mut folder = self.root.to_owned();
        let mut index = ["lib", "main"].into_iter().find_map(|file| self.at(&format!("{folder}/{file}.rs")));
        for name in path.split("::") {
            if let Some(file) = self.at(&format!("{folder}/{name}.rs")) {
                return Some(file);
            }
            folder = format!("{folder}/{name}");
            match self.at(&format!("{folder}/mod.rs")) {
                Some(inner) => index = Some(inner),
                None => return index.and_then(|index| self.passed_on(index, name)).or(index),
            }
        }
        index
    }

    /// Where a name comes from that a `mod.rs` passes on.
    fn passed_on(&self, index: usize, name: &str) -> Option<usize> {
        let exported = |line: &str| {
            let path = line.starts_with("pub").then(|| line.split("use crate::").nth(1)).flatten()?;
            let path = path.strip_suffix(';')?.to_owned();
            path.ends_with(&format!("::{name}")).then_some(path)
        };
        self.definition(&self.sources[index].code.lines().find_map(exported)?)
    }

    fn of(&self, file: usize) -> Vec<usize> {
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let own = self.sources[file].code.lines().filter(|line| !line.starts_with("pub"));
        let paths = own.flat_map(|line| line.split("crate::").skip(1));
        let paths = paths.map(|rest| rest.split(|c| !is_path(c)).next().unwrap_or_default());
        paths.filter_map(|path| self.definition(path)).filter(|other| *other != file).collect()
    }

    /// The files of a ring that one comes to from `way`'s last file.
    fn ring(&self, way: &mut Vec<usize>, clear: &mut [bool]) -> Option<Vec<usize>> {
        for next in self.of(*way.last()?) {
            if let Some(start) = way.iter().position(|file| *file == next) {
                return Some(way[start..].to_vec());
            }
            if !clear[next] {
                way.push(next);
                if let Some(ring) = self.ring(way, clear) {
                    return Some(ring);
                }
                way.pop();
                clear[next] = true;
            }
        }
        None
    }
}

#[test]
fn files_import_one_another_in_no_ring() {
    let mut faults = Vec::new();
    for root in WITHOUT_RINGS {
        let imports = Imports { root, sources: sources_of(root) };
        assert!((0..imports.sources.len()).any(|file| !imports.of(file).is_empty()), "{root} is read");
        let mut clear = vec![false; imports.sources.len()];
        for file in 0..imports.sources.len() {
            if let Some(ring) = imports.ring(&mut vec![file], &mut clear) {
                let paths = ring.iter().map(|file| imports.sources[*file].path.as_str());
                faults.push(paths.collect::<Vec<_>>().join(" -> "));
            }
            clear[file] = true;
        }
    }
    faults.sort();
    faults.dedup();
    none(&faults);
}

#[test]
fn test_tools_do_not_know_each_other() {
    let load = sources().into_iter().filter(|source| source.path.starts_with("crates/tools/src/load"));
    let knowing: Vec<String> =
        load.filter(|source| source.names("crate::sim")).map(|source| source.path).collect();
    none(&knowing);
}

#[test]
fn import_names_a_full_path() {
    let sources = sources().into_iter().filter(|source| source.names("super::"));
    none(&sources.map(|source| format!("{}: `super::` outside its tests", source.path)).collect::<Vec<_>>());
}

#[test]
fn group_of_imports_is_read_as_its_names() {
    let code = "use a::B;\npub use crate::c::{D, E as F};\nfn g() {}";
    assert_eq!(ungrouped(code), "use a::B;\npub use crate::c::D;\npub use crate::c::E as F;\nfn g() {}");
}

#[test]
fn engine_alone_names_wasmtime() {
    let names =
        |source: &Source| ["wasmtime::", "wasmtime_wasi::", "wiggle::"].iter().any(|word| source.names(word));
    let (engine, others): (Vec<Source>, Vec<Source>) =
        sources().into_iter().filter(names).partition(|source| source.layer() == Some("engine"));
    assert!(!engine.is_empty(), "the engine is found");
    none(&others.into_iter().map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn edges_alone_name_http() {
    // A configuration holds names and values of headers, which it checks once.
    let names = |source: &Source| {
        let has_headers = source.layer() == Some("config");
        let words = ["axum::", "hyper::", "hyper_util::", "http::"];
        words.iter().any(|word| source.names(word) && !(has_headers && *word == "http::"))
    };
    let (edges, others): (Vec<Source>, Vec<Source>) = sources()
        .into_iter()
        .filter(names)
        .filter(|source| source.path.starts_with("crates/router"))
        .partition(|source| matches!(source.layer(), Some("proxy" | "picker" | "admin" | "cli")));
    assert!(!edges.is_empty(), "the edges are found");
    none(&others.into_iter().map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for source in sources().into_iter().filter(|source| source.lines > MAX_LINES) {
        match LONG.iter().find(|(file, _)| *file == source.path) {
            Some(known) => used.push(*known),
            None => faults.push(format!("{} has {} lines", source.path, source.lines)),
        }
    }
    none(&faults);
    let stale = LONG.iter().filter(|known| !used.contains(known));
    none(&stale.map(|(file, _)| format!("{file} is short now")).collect::<Vec<_>>());
}

/// Adds what names several types, and where these are.
fn add_doubles(sources: &[Source], faults: &mut Vec<String>) -> usize {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // A file `no_x.rs` stands in for `x` in builds without it, under the same names.
    for source in sources.iter().filter(|source| !source.path.contains("/no_")) {
        for name in source.code.lines().filter_map(declared_type) {
            places.entry(name).or_default().push(&source.path);
        }
    }
    let doubles = places.iter().filter(|(_, files)| files.len() > 1);
    faults.extend(doubles.map(|(name, files)| format!("{name}: {}", files.join(", "))));
    places.len()
}

#[test]
fn type_has_a_name_that_no_other_has() {
    let mut faults = Vec::new();
    let libraries: Vec<Source> = LIBRARIES.iter().flat_map(|root| sources_of(root)).collect();
    assert!(add_doubles(&libraries, &mut faults) > 700, "the types are found");
    for root in PROGRAMS {
        assert!(add_doubles(&sources_of(root), &mut faults) > 0, "the types of {root} are found");
    }
    none(&faults);
}

#[test]
fn type_is_found_wherever_it_is_declared() {
    let found = |line| declared_type(line).unwrap_or_default();
    assert_eq!(found("pub(crate) struct Public<T> {"), "Public");
    assert_eq!(found("enum Private {"), "Private");
    assert_eq!(found("        pub struct InMacro;"), "InMacro");
    assert_eq!(found("        struct InFunction;"), "InFunction");
    assert_eq!(found("pub(in crate::a) trait Narrow: Sized {"), "Narrow");
    assert_eq!(found("type Short = [u8; 2];"), "Short");
    assert_eq!(found("    type Output = u8;"), "");
    assert_eq!(found("publish(struct_of(a), b);"), "");
}
