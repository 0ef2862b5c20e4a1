//! Makes what random functions return likely to be of use: a made-up module whose buffers lie
//! anywhere would be refused at load, every time.

use wasm_encoder::CodeSection;
use wasm_encoder::Encode;
use wasm_encoder::Instruction;
use wasm_encoder::Module;
use wasm_encoder::RawSection;
use wasmparser::ExternalKind;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::TypeRef;

/// Addresses that are let through: the first quarter of a page, in steps of 16, but for 0.
const ADDRESS: i32 = 0x3ff0;

/// The module, with buffers and answers at low addresses and answers of less than 256 bytes,
/// unless its functions return early. `sized_answer`: the answers of `select_worker` have their
/// size before them.
pub(crate) fn steadied(wasm: &[u8], sized_answer: bool) -> Vec<u8> {
    let address = [
        Instruction::I32Const(ADDRESS),
        Instruction::I32And,
        Instruction::I32Const(16),
        Instruction::I32Or,
    ];
    let place = [Instruction::I64Const((i64::from(ADDRESS) << 32) | 0xff), Instruction::I64And];
    let select = if sized_answer { address.as_slice() } else { place.as_slice() };
    let ends = [("alloc", address.as_slice()), ("select_worker", select), ("select_worker_pair", &place)];
    with_ends(wasm, &ends)
}

/// The module, with instructions added to the ends of exported functions.
fn with_ends(wasm: &[u8], ends: &[(&str, &[Instruction<'_>])]) -> Vec<u8> {
    let mut module = Module::new();
    let mut added: Vec<(u32, &[Instruction<'_>])> = Vec::new();
    let (mut function, mut code, mut left) = (0, CodeSection::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("it is valid");
        match &payload {
            Payload::ImportSection(imports) => {
                let imports = imports.clone().into_imports().map(|import| import.expect("it is valid").ty);
                let functions = imports.filter(|ty| matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                function = u32::try_from(functions.count()).expect("few");
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export.expect("it is valid");
                    let end = ends.iter().find(|(name, _)| *name == export.name);
                    added.extend(end.filter(|_| export.kind == ExternalKind::Func).map(|(_, end)| (export.index, *end)));
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                left = *count;
                continue;
            }
            Payload::CodeSectionEntry(body) => {
                let body = &wasm[body.range()];
                let end = added.iter().find(|(index, _)| *index == function).map_or(&[][..], |(_, end)| end);
                code.raw(&with_end(body, end));
                function += 1;
                left -= 1;
                if left == 0 {
                    module.section(&code);
                }
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    module.finish()
}

fn with_end(body: &[u8], added: &[Instruction<'_>]) -> Vec<u8> {
    let (end, body) = body.split_last().expect("a body ends with `end`");
    let mut longer = body.to_vec();
    added.iter().for_each(|instruction| instruction.encode(&mut longer));
    longer.push(*end);
    longer
}
