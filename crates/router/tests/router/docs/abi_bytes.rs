//! The example bytes of docs/plugin-abi.md are what the encoders write.

use sgl_policy_abi::{
    Answer, AnswerMap, Completion, Concurrency, FirstToken, Full, Init, Input, KnownEngine, KnownModels,
    Labels, Manifest, PairAnswer, RowWorker, Ticket, Value, WaitAnswer, Wire, WorkerFacts, WorkerRole,
    Writer, encode_completions, encode_error, encode_first_tokens, encode_rows, encode_session_ends,
    encode_table, encode_to_vec, encode_worker,
};

use crate::docs::pages;

fn bytes(write: impl FnMut(&mut Writer<'_>) -> Result<(), Full>) -> Vec<u8> {
    encode_to_vec(write).expect("a small message")
}

/// Every example, by the name that its block has.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("manifest", bytes(manifest)),
        ("init", bytes(init)),
        ("on_workers", bytes(table)),
        ("columns", bytes(columns)),
        ("rows", bytes(rows)),
        ("index", bytes(|w| Answer::Index(1).encode(w))),
        ("wait", bytes(wait)),
        ("no-choice", bytes(|w| Answer::NoChoice.encode(w))),
        ("state", bytes(state)),
        ("error", bytes(|w| encode_error(w, "cold"))),
        ("ticket", bytes(|w| Answer::Ticketed { index: 1, ticket: Ticket::new(Some(7), 1.5) }.encode(w))),
        ("pair", bytes(|w| PairAnswer::Pair { prefill: 1, decode: 0 }.encode(w))),
        ("on_first_token", bytes(first_tokens)),
        ("on_complete", bytes(completions)),
        ("on_session_end", bytes(|w| encode_session_ends(w, ["s-1", "s-2"].into_iter()))),
    ]
}

fn wait(w: &mut Writer<'_>) -> Result<(), Full> {
    let wait = Some(WaitAnswer { key: 1.5, deadline_ms: Some(500) });
    Answer::Map(AnswerMap { wait, ..AnswerMap::default() }).encode(w)
}

fn manifest(w: &mut Writer<'_>) -> Result<(), Full> {
    Manifest {
        name: "mine".to_owned(),
        version: "0.1.0".to_owned(),
        wire: Wire::Columns,
        inputs: vec![Input::Healthy, Input::Load, Input::Header("x-user".into())],
        concurrency: Concurrency::Parallel,
        ..Manifest::default()
    }
    .encode(w)
}

fn init(w: &mut Writer<'_>) -> Result<(), Full> {
    let config = vec![("spread".to_owned(), Value::Float(0.5))];
    Init { abi: 1, plugin: "mine".to_owned(), generation: 7, config, seed: 300 }.encode(w)
}

fn table(w: &mut Writer<'_>) -> Result<(), Full> {
    let facts = |url, model, role, weight, engine| WorkerFacts {
        url,
        model,
        role,
        weight,
        labels: Labels::default(),
        engine,
    };
    let names = ["m".to_owned(), "sql".to_owned()];
    let models = KnownModels::new(&names);
    let known = KnownEngine { name: Some("vllm"), block_size: Some(16), models, ..KnownEngine::default() };
    encode_table(w, 3, 2)?;
    encode_worker(
        w,
        &facts("http://a", None, WorkerRole::Decode, 1.0, KnownEngine::default()),
        std::iter::empty(),
    )?;
    encode_worker(
        w,
        &facts("http://b", Some("m"), WorkerRole::Prefill, 2.0, known),
        [("zone", "x")].into_iter(),
    )
}

fn columns(w: &mut Writer<'_>) -> Result<(), Full> {
    w.array(4)?;
    w.uint(3)?;
    w.bin(1)?.copy_from_slice(&[0b11]);
    w.bin(8)?.copy_from_slice(&[[4, 0, 0, 0], [1, 0, 0, 0]].concat());
    w.opt_str(None)
}

fn rows(w: &mut Writer<'_>) -> Result<(), Full> {
    let workers = [RowWorker { url: "http://a", healthy: true, load: 4 }];
    encode_rows(w, workers.into_iter(), Some("Hi"), &[], &bytes(count))
}

fn count(w: &mut Writer<'_>) -> Result<(), Full> {
    w.map(1)?;
    w.str("count")?;
    w.uint(1)
}

fn state(w: &mut Writer<'_>) -> Result<(), Full> {
    let kept = bytes(count);
    Answer::Map(AnswerMap { selected_worker: Some(1), state: Some(&kept), ..AnswerMap::default() }).encode(w)
}

fn first_tokens(w: &mut Writer<'_>) -> Result<(), Full> {
    let begun =
        [FirstToken { worker: 1, tag: Some(9), ms: 12.5 }, FirstToken { worker: 0, tag: None, ms: 80.0 }];
    encode_first_tokens(w, 3, begun.iter())
}

fn completions(w: &mut Writer<'_>) -> Result<(), Full> {
    let done = [
        Completion {
            worker: 1,
            ok: true,
            status: Some(200),
            first_byte_ms: Some(12.5),
            total_ms: Some(80.0),
            prompt_tokens: Some(100),
            completion_tokens: Some(7),
            cached_tokens: Some(64),
            tag: Some(9),
        },
        Completion { worker: 0, status: Some(502), total_ms: Some(5.0), ..Completion::default() },
    ];
    encode_completions(w, 3, done.iter())
}

/// The bytes of a block: two hex digits each, up to the `|` that begins a line's explanation.
fn bytes_of(block: &str) -> Vec<u8> {
    let before_bar = |line: &str| line.split('|').next().unwrap_or_default().to_owned();
    let text: Vec<String> = block.lines().map(before_bar).collect();
    let byte = |digits: &str| u8::from_str_radix(digits, 16).expect("two hex digits");
    text.iter().flat_map(|line| line.split_whitespace()).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn every_example_of_the_abi_is_what_its_encoder_writes() {
    let page = pages::read("docs/plugin-abi.md");
    let blocks: Vec<(String, String)> = pages::blocks(&page)
        .into_iter()
        .filter_map(|(info, text)| Some((info.strip_prefix("hex ")?.to_owned(), text)))
        .collect();
    let examples = examples();
    for (name, expected) in &examples {
        let found = blocks.iter().find(|(known, _)| known == name);
        let found = found.map(|(_, text)| bytes_of(text)).unwrap_or_default();

        assert_eq!(hex(&found), hex(expected), "the block `hex {name}` of docs/plugin-abi.md");
    }
    assert_eq!(blocks.len(), examples.len(), "every block has its encoder here");
}
