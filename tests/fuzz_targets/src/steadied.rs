//! Makes what random functions return likely to be of use: a made-up module whose buffers lie
//! anywhere would be refused at load, every time.

use wasm_encoder::{CodeSection, Encode, Instruction, Module, RawSection};
use wasmparser::{ImportSectionReader, Parser, Payload, TypeRef};

/// Addresses that are let through: the first quarter of a page, in steps of 16, but for 0.
const ADDRESS: i32 = 0x3ff0;

/// What becomes of an exported function.
enum Change<'a> {
    /// More at its end.
    Append(&'a [Instruction<'a>]),
    /// Nothing but this.
    Replace(&'a [Instruction<'a>]),
}

/// What is made steady.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steadiness {
    /// `init` answers nothing, if it answers, and does nothing.
    pub(crate) init: Option<Answers>,
    /// The answers of `select_worker` have their size before them.
    pub(crate) sized_answer: bool,
}

/// Whether a function gives a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// An `i64`.
    Yes,
    /// Nothing.
    No,
}

/// The module, with buffers and answers at low addresses and answers of less than 256 bytes,
/// unless its functions return early.
pub(crate) fn steadied(wasm: &[u8], how: Steadiness) -> Vec<u8> {
    let address =
        [Instruction::I32Const(ADDRESS), Instruction::I32And, Instruction::I32Const(16), Instruction::I32Or];
    let place = [Instruction::I64Const((i64::from(ADDRESS) << 32) | 0xff), Instruction::I64And];
    let nothing = [Instruction::I64Const(0)];
    let select = if how.sized_answer { address.as_slice() } else { place.as_slice() };
    let mut changes = vec![
        ("alloc", Change::Append(&address)),
        ("select_worker", Change::Append(select)),
        ("select_worker_pair", Change::Append(&place)),
    ];
    changes.extend(how.init.map(|answers| {
        let body = if answers == Answers::Yes { nothing.as_slice() } else { &[] };
        ("init", Change::Replace(body))
    }));
    changed(wasm, &changes)
}

/// The module, with exported functions changed.
fn changed(wasm: &[u8], changes: &[(&str, Change<'_>)]) -> Vec<u8> {
    let mut module = Module::new();
    let mut found: Vec<(u32, &Change<'_>)> = Vec::new();
    let (mut function, mut code, mut left) = (0, CodeSection::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("it is valid");
        match &payload {
            Payload::ImportSection(imports) => function = functions(imports.clone()),
            Payload::ExportSection(exports) => {
                for export in exports.clone().into_iter().map(|export| export.expect("it is valid")) {
                    let change = changes.iter().find(|(name, _)| *name == export.name);
                    found.extend(change.map(|(_, change)| (export.index, change)));
                }
            }
            Payload::CodeSectionStart { count, .. } => left = *count,
            Payload::CodeSectionEntry(body) => {
                let change = found.iter().find(|(index, _)| *index == function);
                code.raw(&body_of(&wasm[body.range()], change.map(|(_, change)| *change)));
                function += 1;
                left -= 1;
                if left == 0 {
                    module.section(&code);
                }
            }
            _ => {}
        }
        let is_code = matches!(payload, Payload::CodeSectionStart { .. });
        if let Some((id, range)) = payload.as_section().filter(|_| !is_code) {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    module.finish()
}

/// How many functions are imported: those of the module itself are numbered from there.
fn functions(imports: ImportSectionReader<'_>) -> u32 {
    let types = imports.into_imports().map(|import| import.expect("it is valid").ty);
    let functions = types.filter(|ty| matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
    u32::try_from(functions.count()).expect("few")
}

fn body_of(body: &[u8], change: Option<&Change<'_>>) -> Vec<u8> {
    let (end, inside) = body.split_last().expect("a body ends with `end`");
    let (mut new, instructions) = match change {
        None => return body.to_vec(),
        Some(Change::Append(instructions)) => (inside.to_vec(), instructions),
        // No locals.
        Some(Change::Replace(instructions)) => (vec![0], instructions),
    };
    instructions.iter().for_each(|instruction| instruction.encode(&mut new));
    new.push(*end);
    new
}
