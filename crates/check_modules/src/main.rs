//! Prints what built plugins are, and fails if one breaks a rule of the ABI or of this repository.
//!
//! ```text
//! cargo run -p check_modules -- [--max-bytes N] FILE...
//! ```
//! A size limit holds for the files after it.
//! The router checks the same and more when it loads a plugin; this needs no router
//! and runs right after a build (`scripts/build_wasm_plugins.sh`).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use sgl_policy_abi::{HOST_MODULE, MANIFEST_SECTION, Manifest, export};
use wasmparser::ValType::{I32, I64};
use wasmparser::{Export, ExternalKind, FuncType, Parser, Payload, TypeRef, Validator, WasmFeatures};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pages at start: below the 1 MiB that operators commonly allow, with room to grow.
const MAX_PAGES: u64 = 15;

/// What a module says about itself.
#[derive(Default)]
struct Facts {
    types: Vec<FuncType>,
    /// Type index of each function, imported ones first.
    functions: Vec<u32>,
    imports: Vec<String>,
    exports: BTreeMap<String, u32>,
    exported_memories: Vec<String>,
    pages: Vec<u64>,
    manifest: Option<Manifest>,
}

const USAGE: &str = "\
Usage: check_modules [--max-bytes N] FILE...

Prints what built plugin modules are, and fails if one breaks a rule of the ABI or of this
repository. --max-bytes holds for the files after it. `sgl-router plugin check FILE` tells whether a
router would load a module, of whatever repository.
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "check_modules: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if every module keeps the rules.
fn run() -> Result<bool> {
    let mut max_bytes = usize::MAX;
    let mut files = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => {
                write!(io::stdout(), "{USAGE}")?;
                return Ok(true);
            }
            "--max-bytes" => max_bytes = args.next().ok_or("--max-bytes needs a number")?.parse()?,
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}").into()),
            _ => files.push((arg, max_bytes)),
        }
    }
    if files.is_empty() {
        return Err(format!("no file is named\n{USAGE}").into());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{:<20} {:>8} {:>6}  {:<8} {:<9} imports", "plugin", "bytes", "pages", "wire", "runs")?;
    let mut good = true;
    for (file, max_bytes) in files {
        let path = Path::new(&file);
        let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a file without a name")?;
        let bytes = fs::read(path).map_err(|error| format!("{file}: {error}"))?;
        let facts = read(&bytes).map_err(|error| format!("{file}: {error}"))?;
        print_row(&mut out, name, bytes.len(), &facts)?;
        let mut faults = faults(name, &facts);
        if bytes.len() > max_bytes {
            faults.push(format!(
                "the module has {} bytes; the limit of this repository is {max_bytes}",
                bytes.len()
            ));
        }
        for fault in faults {
            good = false;
            writeln!(io::stderr(), "{file}: {fault}")?;
        }
    }
    Ok(good)
}

fn print_row(out: &mut impl Write, name: &str, bytes: usize, facts: &Facts) -> io::Result<()> {
    let manifest = facts.manifest.clone().unwrap_or_default();
    let (wire, runs) = (manifest.wire.word(), manifest.concurrency.word());
    let pages = facts.pages.iter().sum::<u64>();
    let imports = if facts.imports.is_empty() { "-".to_owned() } else { facts.imports.join(" ") };
    writeln!(out, "{name:<20} {bytes:>8} {pages:>6}  {wire:<8} {runs:<9} {imports}")
}

/// Validates the module and collects what the rules speak of.
fn read(bytes: &[u8]) -> Result<Facts> {
    check_magic(bytes)?;
    Validator::new_with_features(WasmFeatures::default() - WasmFeatures::THREADS).validate_all(bytes)?;
    let mut facts = Facts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        facts.add(payload?)?;
    }
    Ok(facts)
}

/// Says what the router says of something else.
fn check_magic(bytes: &[u8]) -> Result<()> {
    let found = match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Ok(()),
        [] => "the file is empty".to_owned(),
        [0, b'a', b's', b'm', ..] => "it is a component, or cut short".to_owned(),
        [first, ..] => format!("it starts with byte {first:#04x}"),
    };
    let expected = "a core WebAssembly binary (it starts with \"\\0asm\")";
    Err(format!("the module is not a policy plugin: {found}; expected {expected}").into())
}

impl Facts {
    fn add(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                self.types = section.into_iter_err_on_gc_types().collect::<std::result::Result<_, _>>()?;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.imports.push(format!("{}.{}", import.module, import.name));
                    if let TypeRef::Func(index) = import.ty {
                        self.functions.push(index);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    self.functions.push(index?);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.pages.push(memory?.initial);
                }
            }
            Payload::ExportSection(section) => {
                for entry in section {
                    self.add_export(&entry?);
                }
            }
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                self.manifest = Some(Manifest::decode(section.data())?);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_export(&mut self, export: &Export<'_>) {
        match export.kind {
            ExternalKind::Func => drop(self.exports.insert(export.name.to_owned(), export.index)),
            ExternalKind::Memory => self.exported_memories.push(export.name.to_owned()),
            _ => {}
        }
    }
}

/// Every rule that the module breaks.
fn faults(name: &str, facts: &Facts) -> Vec<String> {
    let mut faults = Vec::new();
    if facts.exported_memories != [export::MEMORY] || facts.pages.len() != 1 {
        faults.push("it must have one memory, exported as `memory`".to_owned());
    }
    if facts.pages.iter().any(|pages| *pages > MAX_PAGES) {
        faults.push(format!(
            "its memory starts with more than {MAX_PAGES} pages, a rule of this repository: link with a smaller stack"
        ));
    }
    for import in &facts.imports {
        if !import.starts_with(HOST_MODULE) {
            faults.push(format!("it imports `{import}`, which the router does not offer by default"));
        }
    }
    let buffer: &[_] = &[I32, I32];
    let rules = [
        (export::ALLOC, true, vec![(&[I32][..], &[I32][..])]),
        (export::DEALLOC, true, vec![(buffer, &[])]),
        (export::INIT, true, vec![(&[], &[]), (buffer, &[I64])]),
        (export::SELECT_WORKER, true, vec![(buffer, &[I64]), (buffer, &[I32])]),
        (export::SELECT_WORKER_PAIR, false, vec![(buffer, &[I64])]),
        (export::ON_WORKERS, false, vec![(buffer, &[])]),
        (export::ON_COMPLETE, false, vec![(buffer, &[])]),
        (export::SAVE_STATE, false, vec![(&[], &[I64])]),
        (export::RESTORE_STATE, false, vec![(buffer, &[])]),
    ];
    for (export, required, allowed) in rules {
        match signature(facts, export) {
            None if required => faults.push(format!("it does not export `{export}`")),
            Some(found) if !allowed.iter().any(|rule| *rule == (found.params(), found.results())) => {
                faults.push(format!("export `{export}` has the signature {found}"));
            }
            _ => {}
        }
    }
    if let Some(manifest) = facts.manifest.as_ref().filter(|manifest| manifest.name != name) {
        faults.push(format!(
            "its manifest says `{}`, its file `{name}`; in this repository folder, file and policy have one name \
             (it is no rule of the ABI): write `name: \"{name}\"` in `export_policy!`, or rename the folder",
            manifest.name
        ));
    }
    faults
}

fn signature<'f>(facts: &'f Facts, export: &str) -> Option<&'f FuncType> {
    let function = facts.functions.get(usize::try_from(*facts.exports.get(export)?).ok()?)?;
    facts.types.get(usize::try_from(*function).ok()?)
}
