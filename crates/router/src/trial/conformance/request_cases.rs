//! Requests as clients send them, and as they should not.

use std::collections::BTreeMap;

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{KitSession, idle, odd_requests, prompt};
use crate::trial::described_request::DescribedRequest;
use crate::trial::prepared_request::PreparedRequest;
use sgl_policy_abi::Input;

pub(crate) const CASES: [KitCase; 9] = [
    KitCase {
        name: "request/nothing-known",
        remedy: "Decide a request of which nothing is known: texts and lists are nil, numbers 0 or NaN.",
        run: nothing_known,
    },
    KitCase {
        name: "request/empty-texts",
        remedy: "Take an empty prompt, session, model or header for a text of no characters: do not read its first \
                 byte, and do not divide by its length.",
        run: empty_texts,
    },
    KitCase {
        name: "request/huge-prompt",
        remedy: "Decide a request whose prompt is larger than the plugin's memory: it gets the beginning of it, as \
                 much as an eighth of the memory, so `alloc` must give a buffer of that size.",
        run: huge_prompt,
    },
    KitCase {
        name: "request/odd-texts",
        remedy: "Treat texts as bytes of valid UTF-8 of any kind: zero bytes, emoji, controls, right-to-left. Do not \
                 cut them in the middle of a character.",
        run: odd_texts,
    },
    KitCase {
        name: "request/invalid-utf-8",
        remedy: "Decide requests whose body is no valid UTF-8 or no JSON: what could be read of it is there, the rest \
                 is nil.",
        run: invalid_bytes,
    },
    KitCase {
        name: "request/token-ids",
        remedy: "Decide a request whose prompt is token ids, none or a million of them: `request_text` is nil then.",
        run: token_ids,
    },
    KitCase {
        name: "request/numbers",
        remedy: "Decide whatever the numbers of a request are: 0, their largest, or NaN; compute with 64 bits.",
        run: numbers,
    },
    KitCase {
        name: "request/names",
        remedy: "Decide whether or not a declared header, field or parameter is there, and whatever it holds: the \
                 client writes it.",
        run: names,
    },
    KitCase {
        name: "request/last-time",
        remedy: "Where `may_wait_ms` is 0, `wait` is no answer any more: choose somebody, or refuse with `shed`.",
        run: last_time,
    },
];

fn passed(session: &KitSession<'_>, requests: Vec<DescribedRequest>) -> Result<KitVerdict, String> {
    requests.into_iter().try_for_each(|request| session.ask(request).map(|_| ()))?;
    Ok(KitVerdict::Passed)
}

fn nothing_known(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    passed(&bench.session(&idle(5))?, vec![DescribedRequest::default(); 3])
}

fn with_texts(text: &str) -> DescribedRequest {
    let text = || Some(text.to_owned());
    DescribedRequest {
        session: text(),
        model: text(),
        client_key: text(),
        route: text(),
        ..prompt(&text().unwrap_or_default())
    }
}

fn empty_texts(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let empty_hashes = DescribedRequest { prefix_hashes: Some(Vec::new()), ..prompt("") };
    let empty_tokens = DescribedRequest { request_tokens: Some(Vec::new()), ..DescribedRequest::default() };
    passed(&bench.session(&idle(5))?, vec![with_texts(""), empty_hashes, empty_tokens, prompt("")])
}

fn huge_prompt(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&idle(5))?;
    let huge = "a prompt that is larger than any plugin's memory. ".repeat(110_000);
    let multibyte = "日".repeat(1_500_000);
    let grown = ["short", &huge, "short again", &multibyte, &huge].map(prompt).to_vec();
    passed(&session, grown)?;
    let session_key = DescribedRequest { session: Some("k".repeat(1 << 20)), ..prompt(&huge) };
    passed(&session, vec![session_key])
}

fn odd_texts(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let odd = [
        "\0",
        "a\0b",
        "\u{feff}",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "\u{202e}abc",
        "\u{1}\u{7f}\u{85}",
        "é\u{301}\u{301}",
        "{}[]\"\\",
        "%s%n",
        "\r\n\r\n",
    ];
    passed(&bench.session(&idle(5))?, odd.map(with_texts).to_vec())
}

fn invalid_bytes(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&idle(5))?;
    let bodies: [&[u8]; 7] = [
        b"",
        b"{",
        b"not json",
        b"{\"prompt\": \"a\xff\xfe\xc3(\", \"model\": \"m\x80\"}",
        br#"{"prompt": "\ud800 alone", "model": "\udfff"}"#,
        br#"{"prompt": ["one", 7, null, {"text": 1}], "max_tokens": -1e99}"#,
        b"{\"prompt\": \"cut",
    ];
    for body in bodies {
        let request = PreparedRequest::of_bytes(DescribedRequest::default(), body);
        session
            .ask_prepared(&request)
            .map_err(|fault| format!("body {:?}: {fault}", String::from_utf8_lossy(body)))?;
    }
    Ok(KitVerdict::Passed)
}

fn token_ids(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let ids = |ids: Vec<u32>| DescribedRequest { request_tokens: Some(ids), ..DescribedRequest::default() };
    let session = bench.session(&idle(5))?;
    passed(
        &session,
        vec![ids(vec![0]), ids(vec![u32::MAX; 17]), ids((0..1_048_577).collect()), ids(vec![1, 2, 3])],
    )
}

fn numbers(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&[])?;
    for workers in [1, 2, 17, 300] {
        session.offer(&idle(workers));
        odd_requests().into_iter().try_for_each(|request| session.ask(request).map(|_| ()))?;
    }
    Ok(KitVerdict::Passed)
}

fn names(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&idle(5))?;
    let manifest = &session.plugin.facts().manifest;
    let mut kept: [BTreeMap<String, String>; 3] = Default::default();
    let config = &bench.settings.config;
    for value in ["", "a", "true", "-1", "1e308", "日本", &"v".repeat(4096)] {
        let [headers, fields, query] = &mut kept;
        for input in &manifest.inputs {
            let named = |map: &mut BTreeMap<String, String>, name: &str| {
                map.insert(name.to_owned(), value.to_owned());
            };
            match input {
                Input::Header(name) => named(headers, name),
                Input::ConfigHeader(key) => {
                    let name = config.get(&**key).and_then(|name| name.as_str());
                    named(headers, &name.unwrap_or("x-kit").to_ascii_lowercase());
                }
                Input::Field(pointer) => named(fields, pointer),
                Input::Query(name) => named(query, name),
                _ => {}
            }
        }
        let [headers, fields, query] = kept.clone();
        session
            .ask(DescribedRequest { headers, fields, query, ..prompt("hi") })
            .map_err(|fault| format!("all are {value:?}, {fault}"))?;
    }
    if kept.iter().all(BTreeMap::is_empty) {
        return Ok(KitVerdict::Skipped("it declares no header, field or parameter"));
    }
    passed(
        &session,
        vec![prompt("hi"), DescribedRequest { body: Some(json!({})), ..DescribedRequest::default() }],
    )
}

fn last_time(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(3))?;
    let mut placed = Vec::new();
    // Requests pile up, until a policy that has requests wait would.
    for turn in 0..200_u64 {
        let waiting = DescribedRequest { waited_ms: turn * 10, may_wait_ms: Some(60_000), ..prompt("hi") };
        placed.push(session.ask(waiting)?);
        let last = DescribedRequest { waited_ms: 60_000, may_wait_ms: Some(0), held: 3, ..prompt("hi") };
        placed.push(session.ask(last)?);
    }
    drop(placed);
    session.tell()?;
    Ok(KitVerdict::Passed)
}
