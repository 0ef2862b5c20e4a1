//! Checks a module's bytes before any of it is compiled or run.

use sgl_policy_abi::{HOST_MODULE, MANIFEST_SECTION, Manifest, WASI_MODULE, export, host_function};
use wasmparser::types::{EntityType, TypesRef};
use wasmparser::{ExternalKind, FuncType, MemoryType, Parser, Payload, ValType, Validator, WasmFeatures};

use crate::config::syscalls;
use crate::policies::wasm::load::error::ModuleFault;
use crate::policies::wasm::load::known_exports::{KNOWN_EXPORTS, KnownExport};
use crate::policies::wasm::load::producers::Producers;
use crate::policies::wasm::load::{oversights, producers};
use crate::types::{printable, shown};

/// Bytes in a page of linear memory.
const PAGE_BYTES: u64 = 65_536;

/// Longest name, version and description in a manifest, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// What a module turned out to be.
#[derive(Clone, Debug)]
pub struct ModuleFacts {
    /// Its manifest; the defaults of the ABI if it has none.
    pub manifest: Manifest,
    /// System calls that it imports, sorted.
    pub syscalls: Vec<String>,
    /// True if it chooses pairs by itself.
    pub has_pair: bool,
    /// True if it can give its guest's state to a later generation.
    pub has_save_state: bool,
    /// True if it can take the state of an earlier one.
    pub has_restore_state: bool,
    /// True if it wants to hear of streamed answers that have begun.
    pub has_on_first_token: bool,
    /// True if it wants reports of finished requests.
    pub has_on_complete: bool,
    /// True if it wants to hear of sessions that are over.
    pub has_on_session_end: bool,
    /// Memory that it starts with, in bytes.
    pub initial_memory_bytes: u64,
    /// Memory beyond which it says it never grows, in bytes.
    pub maximum_memory_bytes: Option<u64>,
    /// Its size in bytes.
    pub size_bytes: usize,
    /// Functions that it imports, as `module.name`, sorted.
    pub imports: Vec<String>,
    /// What it seems to have forgotten, a line each.
    pub oversights: Vec<String>,
    /// What its `producers` section says it was made with.
    pub producers: Producers,
}

impl ModuleFacts {
    /// The optional exports that it has and that a router calls, by name.
    pub fn hooks(&self) -> Vec<&'static str> {
        let hooks = [
            (export::SELECT_WORKER_PAIR, self.has_pair),
            (export::ON_FIRST_TOKEN, self.has_on_first_token),
            (export::ON_COMPLETE, self.has_on_complete),
            (export::ON_SESSION_END, self.has_on_session_end),
            (export::SAVE_STATE, self.has_save_state),
            (export::RESTORE_STATE, self.has_restore_state),
        ];
        hooks.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
    }

    /// Checks a module, which was checked before, against other limits.
    ///
    /// # Errors
    ///
    /// [`ModuleFault::MemoryMinimum`] or [`ModuleFault::Syscalls`].
    pub fn check_limits(&self, max_memory_bytes: usize, allowed: &[String]) -> Result<(), ModuleFault> {
        check_minimum(self.initial_memory_bytes / PAGE_BYTES, max_memory_bytes)?;
        check_allowed(&self.syscalls, allowed)
    }
}

fn check_minimum(pages: u64, limit: usize) -> Result<(), ModuleFault> {
    let bytes = pages.saturating_mul(PAGE_BYTES);
    if bytes > limit as u64 { Err(ModuleFault::MemoryMinimum { pages, bytes, limit }) } else { Ok(()) }
}

fn check_allowed(needed: &[String], allowed: &[String]) -> Result<(), ModuleFault> {
    let missing: Vec<String> = needed.iter().filter(|name| !allowed.contains(name)).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(ModuleFault::Syscalls { missing, needed: needed.to_vec() }) }
}

/// Checks a module against the plugin ABI and what it is allowed.
///
/// # Errors
///
/// [`ModuleFault`], the first found: what was there, what was expected, what to do.
pub fn check_module(
    wasm: &[u8],
    max_memory_bytes: usize,
    allowed_syscalls: &[String],
) -> Result<ModuleFacts, ModuleFault> {
    judged(wasm, max_memory_bytes, allowed_syscalls, &mut Err)
}

/// All that is wrong with a module, in the order in which [`check_module`] finds it. What cannot be judged
/// for something that is wrong before is not told.
pub fn module_faults(wasm: &[u8], max_memory_bytes: usize, allowed_syscalls: &[String]) -> Vec<ModuleFault> {
    let mut faults = Vec::new();
    let last = judged(wasm, max_memory_bytes, allowed_syscalls, &mut |fault| {
        faults.push(fault);
        Ok(())
    });
    faults.extend(last.err());
    faults
}

/// What takes a fault: the first ends the check, unless it goes on for more.
type Take<'a> = dyn FnMut(ModuleFault) -> Result<(), ModuleFault> + 'a;

fn judged(
    wasm: &[u8],
    max_memory_bytes: usize,
    allowed_syscalls: &[String],
    take: &mut Take<'_>,
) -> Result<ModuleFacts, ModuleFault> {
    check_magic(wasm)?;
    let outline = Outline::read(wasm)?;
    let memory = outline.check_memory(max_memory_bytes).or_else(|fault| take(fault).map(|()| None))?;
    let syscalls = outline.check_imports(allowed_syscalls, take)?;
    let types =
        Validator::new_with_features(features()).validate_all(wasm).map_err(|error| invalid(&error))?;
    check_exports(&outline, types.as_ref(), take)?;
    let manifest = outline.manifest()?;
    Ok(ModuleFacts {
        oversights: oversights::of(outline.exports.iter().map(|export| export.name), &manifest),
        manifest,
        syscalls,
        has_pair: outline.exports(export::SELECT_WORKER_PAIR),
        has_save_state: outline.exports(export::SAVE_STATE),
        has_restore_state: outline.exports(export::RESTORE_STATE),
        has_on_first_token: outline.exports(export::ON_FIRST_TOKEN),
        has_on_complete: outline.exports(export::ON_COMPLETE),
        has_on_session_end: outline.exports(export::ON_SESSION_END),
        initial_memory_bytes: memory.map_or(0, |memory| memory.initial.saturating_mul(PAGE_BYTES)),
        maximum_memory_bytes: memory
            .and_then(|memory| memory.maximum)
            .map(|pages| pages.saturating_mul(PAGE_BYTES)),
        size_bytes: wasm.len(),
        imports: outline.import_names(),
        producers: outline.producers.map(producers::read).unwrap_or_default(),
    })
}

fn features() -> WasmFeatures {
    // The engine's own: what it has by default, without what the ABI refuses, and without what needs
    // a garbage collector, which is not built in.
    let refused = WasmFeatures::THREADS | WasmFeatures::MEMORY64 | WasmFeatures::MULTI_MEMORY;
    let collected = WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS;
    WasmFeatures::WASM3.difference(refused | collected)
}

fn invalid(error: &wasmparser::BinaryReaderError) -> ModuleFault {
    ModuleFault::Invalid { offset: error.offset() as u64, reason: shown(error.message()) }
}

/// Tells a module from everything else by its first bytes.
///
/// # Errors
///
/// [`ModuleFault::NotWasm`] says what it is instead.
pub(crate) fn check_magic(wasm: &[u8]) -> Result<(), ModuleFault> {
    let found = match wasm {
        [] => "the file is empty".to_owned(),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {
            "it is a component; build a core module (Rust: target wasm32-unknown-unknown)".to_owned()
        }
        [0, b'a', b's', b'm', ..] => "its header is cut short or of another version".to_owned(),
        text if text.trim_ascii_start().starts_with(b"(module") => {
            "it is WebAssembly text; translate it with wat2wasm".to_owned()
        }
        [0x7f, b'E', b'L', b'F', ..] => "it is a native (ELF) file".to_owned(),
        [first, ..] => format!("it starts with byte {first:#04x}"),
    };
    Err(ModuleFault::NotWasm { found })
}

/// What a module declares, read in one pass without looking at code.
#[derive(Default)]
struct Outline<'a> {
    imports: Vec<wasmparser::Import<'a>>,
    exports: Vec<wasmparser::Export<'a>>,
    memories: Vec<MemoryType>,
    manifests: Vec<&'a [u8]>,
    producers: Option<&'a [u8]>,
}

impl<'a> Outline<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, ModuleFault> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            outline.take(payload.map_err(|error| invalid(&error))?).map_err(|error| invalid(&error))?;
        }
        Ok(outline)
    }

    fn take(&mut self, payload: Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.imports.push(import?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.push(export?);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memories.push(memory?);
                }
            }
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                self.manifests.push(section.data());
            }
            Payload::CustomSection(section) if section.name() == producers::SECTION => {
                self.producers = Some(section.data());
            }
            _ => {}
        }
        Ok(())
    }

    fn exports(&self, name: &str) -> bool {
        self.exports.iter().any(|export| export.name == name)
    }

    /// Names of what it imports. The host knows each of these functions by then, so there are few.
    fn import_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.imports.iter().map(|import| format!("{}.{}", import.module, import.name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn manifest(&self) -> Result<Manifest, ModuleFault> {
        let refuse = |reason: &str| ModuleFault::Manifest { reason: shown(reason) };
        let bytes = match self.manifests.as_slice() {
            [] => return Ok(Manifest::default()),
            [bytes] => *bytes,
            // Whichever one counted, a person who inspects the module may have read another.
            many => {
                return Err(refuse(&format!("the module has {} such sections; leave one", many.len())));
            }
        };
        let mut manifest = Manifest::decode(bytes).map_err(|error| refuse(&error.to_string()))?;
        let Manifest { name, version, description, .. } = &manifest;
        // Listings print them, whoever wrote them.
        for (key, text) in [("name", name), ("version", version), ("description", description)] {
            if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
                return Err(refuse(&format!(
                    "manifest key `{key}` has control characters, or more than {MAX_TEXT_BYTES} bytes"
                )));
            }
        }
        for text in [&mut manifest.name, &mut manifest.version, &mut manifest.description] {
            *text = printable(text);
        }
        Ok(manifest)
    }

    fn check_memory(&self, max_memory_bytes: usize) -> Result<Option<MemoryType>, ModuleFault> {
        let refuse = |found: &str| Err(ModuleFault::Memory { found: found.to_owned() });
        if self.imports.iter().any(|import| matches!(import.ty, wasmparser::TypeRef::Memory(_))) {
            return refuse("it imports its memory");
        }
        let memory = match self.memories.as_slice() {
            [] => return refuse("it has no memory"),
            [memory] => *memory,
            many => return refuse(&format!("it has {} memories", many.len())),
        };
        if memory.memory64 {
            return refuse("its memory is 64-bit");
        }
        if memory.shared {
            return refuse("its memory is shared");
        }
        let exported = |export: &wasmparser::Export<'_>| {
            export.name == export::MEMORY && export.kind == ExternalKind::Memory
        };
        if !self.exports.iter().any(exported) {
            return refuse("its memory is not exported");
        }
        check_minimum(memory.initial, max_memory_bytes)?;
        Ok(Some(memory))
    }

    /// The system calls that it imports; a fault for any import that it may not have.
    fn check_imports(&self, allowed: &[String], take: &mut Take<'_>) -> Result<Vec<String>, ModuleFault> {
        let mut needed: Vec<String> = Vec::new();
        for import in &self.imports {
            match check_import(import) {
                Ok(syscall) => needed.extend(syscall),
                Err(fault) => take(fault)?,
            }
        }
        needed.sort_unstable();
        needed.dedup();
        check_allowed(&needed, allowed).or_else(&mut *take)?;
        Ok(needed)
    }
}

/// The system call that an import is, if it is one.
fn check_import(import: &wasmparser::Import<'_>) -> Result<Option<String>, ModuleFault> {
    match import.module {
        HOST_MODULE => check_host_import(import).map(|()| None),
        WASI_MODULE => check_wasi_import(import).map(Some),
        _ => {
            let why = format!(
                "plugins import from `{HOST_MODULE}` and `{WASI_MODULE}` only; \
                 build without what needs it (wasm-bindgen and emscripten add such imports)"
            );
            Err(refused_import(import, why))
        }
    }
}

fn refused_import(import: &wasmparser::Import<'_>, why: String) -> ModuleFault {
    ModuleFault::Import { module: shown(import.module), name: shown(import.name), why }
}

fn check_host_import(import: &wasmparser::Import<'_>) -> Result<(), ModuleFault> {
    const PROVIDED: [&str; 5] = [
        host_function::LOG,
        host_function::COUNTER_ADD,
        host_function::KV_GET,
        host_function::KV_SET,
        host_function::KV_SET_FOR,
    ];
    if PROVIDED.contains(&import.name) {
        return Ok(());
    }
    Err(refused_import(import, format!("`{HOST_MODULE}` has {}", PROVIDED.join(", "))))
}

fn check_wasi_import(import: &wasmparser::Import<'_>) -> Result<String, ModuleFault> {
    let name = import.name.to_owned();
    if let Some(why) = syscalls::forbidden(&name) {
        return Err(ModuleFault::ForbiddenSyscall { name: shown(&name), why });
    }
    if !syscalls::KNOWN_SYSCALLS.contains(&import.name) {
        return Err(refused_import(import, "WASI preview 1 has no such function".to_owned()));
    }
    if !syscalls::AVAILABLE {
        return Err(refused_import(import, syscalls::MISSING.to_owned()));
    }
    Ok(name)
}

fn check_exports(outline: &Outline<'_>, types: TypesRef<'_>, take: &mut Take<'_>) -> Result<(), ModuleFault> {
    KNOWN_EXPORTS.iter().try_for_each(|known| check_export(outline, types, known).or_else(&mut *take))
}

fn check_export(outline: &Outline<'_>, types: TypesRef<'_>, known: &KnownExport) -> Result<(), ModuleFault> {
    let KnownExport { name, expected, .. } = *known;
    let Some(export) = outline.exports.iter().find(|export| export.name == name) else {
        if known.needed {
            let present: Vec<&str> = outline.exports.iter().map(|export| export.name).collect();
            return Err(ModuleFault::MissingExport { name, expected, present: shown(&present.join(", ")) });
        }
        return Ok(());
    };
    let Some(EntityType::Func(id)) = types.entity_type_from_export(export) else {
        return Err(ModuleFault::Signature { name, found: "no function".to_owned(), expected });
    };
    #[expect(clippy::indexing_slicing, reason = "the id comes from the same types")]
    let func = types[id].unwrap_func();
    let is_allowed =
        |(params, results): &(&[ValType], &[ValType])| func.params() == *params && func.results() == *results;
    if known.allowed.iter().any(is_allowed) {
        return Ok(());
    }
    Err(ModuleFault::Signature { name, found: signature(func), expected })
}

fn signature(func: &FuncType) -> String {
    let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let params = list(func.params());
    match func.results() {
        [] => format!("({params})"),
        [one] => format!("({params}) -> {one}"),
        many => format!("({params}) -> ({})", list(many)),
    }
}
