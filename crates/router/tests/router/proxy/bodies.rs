use std::sync::Arc;

use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use sgl_router::config::WorkerEntry;
use sgl_router::internals::{Route, Wanted, WantedFields, facts};
use sgl_testkit::client::{TestClient, call, post};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sglang_router_rs::core::{TokenRatios, WorkerRole};
use sglang_router_rs::policies::{FieldLookup, PromptTokens, WantedNames};
use sglang_router_rs::types::{JsonPointer, PrefixBlocks, PrefixHasher, PrefixSeed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ALL: Wanted = Wanted::ALL;

/// Any value of JSON.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let fields = proptest::collection::btree_map(key(), inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["content|text|model|n|messages", ".*"]
}

/// A body with a model, messages and other fields, in any order.
fn body() -> impl Strategy<Value = (String, Value)> {
    let messages = vec((value(), prop_oneof![".*".prop_map(Value::from), value()]), 0..4);
    let message = |(other, content): (Value, Value)| serde_json::json!({"x": other, "content": content});
    let messages = messages.prop_map(move |all| Value::from_iter(all.into_iter().map(message)));
    let fields = proptest::collection::btree_map("[a-m ]{0,3}", value(), 0..3);
    (fields, prop_oneof![".*".prop_map(Value::from), value()], messages, any::<bool>()).prop_map(
        |(fields, model, messages, pretty)| {
            let mut body = Value::Object(fields.into_iter().collect());
            body["model"] = model;
            body["messages"] = messages;
            let text =
                if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
            (text.unwrap(), body)
        },
    )
}

/// The text of all messages, by the tree.
fn expected_text(body: &Value) -> Option<String> {
    let mut pieces: Vec<&str> = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        match &message["content"] {
            Value::String(text) => pieces.push(text),
            Value::Array(parts) => pieces.extend(parts.iter().filter_map(|part| part.get("text")?.as_str())),
            _ => {}
        }
    }
    (!pieces.is_empty()).then(|| pieces.join("\n"))
}

/// A prompt in one of the forms that the API knows, or any value.
fn prompt() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (0..70_000_u64).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..9_u8).prop_map(|whole| Value::from(f64::from(whole))),
        (0..9_u8).prop_map(|whole| Value::from(whole.to_string())),
    ];
    let text = || ".*".prop_map(Value::from);
    prop_oneof![
        text(),
        vec(text(), 0..4).prop_map(Value::from),
        vec(number.clone(), 0..4).prop_map(Value::from),
        vec(vec(prop_oneof![number, value()], 0..4).prop_map(Value::from), 0..4).prop_map(Value::from),
        value(),
    ]
}

/// The pointers to all that is inside of a value.
fn pointers(value: &Value, above: &str, all: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (escaped(key), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (step, value) in inside {
        let pointer = format!("{above}/{step}");
        pointers(value, &pointer, all);
        all.push(pointer);
    }
}

/// A whole number, in the forms that engines take it in.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and not negative")]
fn count(value: &Value) -> Option<u64> {
    let of_float = |float: f64| (float >= 0.0 && float.fract() == 0.0).then_some(float as u64);
    let of_text = |text: &str| text.parse().ok().or_else(|| of_float(text.parse().ok()?));
    value.as_u64().or_else(|| of_float(value.as_f64()?)).or_else(|| of_text(value.as_str()?.trim()))
}

/// What there is of a prompt by the tree: its texts, its token ids, how many prompts it has.
fn expected_prompt(prompt: &Value) -> (Vec<&str>, Vec<u32>, Option<usize>) {
    let token = |value: &Value| Some(u32::try_from(count(value)?).unwrap_or(u32::MAX));
    let (mut texts, mut tokens, mut prompts) = (Vec::new(), Vec::new(), 0);
    texts.extend(prompt.as_str());
    for item in prompt.as_array().into_iter().flatten() {
        texts.extend(item.as_str());
        let ids = item.as_array().map_or(&[][..], Vec::as_slice).iter();
        tokens.extend(ids.chain(item.is_number().then_some(item)).filter_map(token));
        prompts += usize::from(!item.is_number());
    }
    (texts, tokens, (prompts > 0).then_some(prompts))
}

/// The same JSON with all characters but those of ASCII as escapes.
fn in_ascii(json: &str) -> String {
    let mut units = [0; 2];
    let mut ascii = String::new();
    for letter in json.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            let units = letter.encode_utf16(&mut units).iter();
            ascii.extend(units.map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn valid_body_is_read_as_a_tree_of_it_is((text, body) in body()) {
        let facts = facts(Route::Chat, text.as_bytes(), ALL);
        prop_assert_eq!(facts.broken, None);
        prop_assert_eq!(facts.model.as_deref(), body["model"].as_str());
        let expected = expected_text(&body);
        prop_assert_eq!(facts.text_bytes, expected.as_ref().map_or(0, String::len));
        prop_assert_eq!(facts.text.as_deref(), expected.as_deref());
    }

    #[test]
    fn valid_prompt_is_read_as_a_tree_of_it_is(prompt in prompt(), other in value(), escapes in any::<bool>()) {
        for (route, name) in
            [(Route::Completions, "prompt"), (Route::Embeddings, "input"), (Route::Generate, "text")]
        {
            let body = serde_json::json!({"a": other, name: prompt, "model": other, "z": other}).to_string();
            let body = if escapes { in_ascii(&body) } else { body };
            let facts = facts(route, body.as_bytes(), ALL);
            let (texts, tokens, batch) = expected_prompt(&prompt);
            prop_assert_eq!(facts.broken, None);
            prop_assert_eq!(facts.model.as_deref(), other.as_str());
            let text = (!texts.is_empty()).then(|| texts.join("\n"));
            prop_assert_eq!(facts.text.as_deref(), text.as_deref());
            prop_assert_eq!(facts.token_count, tokens.len());
            let expected = PromptTokens {
                count: u32::try_from(tokens.len() + facts.text_bytes.div_ceil(4)).unwrap(),
                exact: !tokens.is_empty() && facts.text_bytes == 0,
            };
            prop_assert_eq!(facts.count_tokens(&TokenRatios::default()), expected);
            prop_assert_eq!(facts.tokens, (!tokens.is_empty()).then_some(tokens));
            prop_assert_eq!(facts.batch, batch);
        }
    }

    #[test]
    fn count_of_choices_is_read_as_a_tree_of_it_is(choices in prop_oneof![value(), (0..9_u64).prop_map(Value::from)]) {
        let body = serde_json::json!({"messages": [], "n": choices}).to_string();
        let expected = count(&choices).map(|choices| usize::try_from(choices).unwrap_or(usize::MAX));
        prop_assert_eq!(facts(Route::Chat, body.as_bytes(), ALL).batch, expected.filter(|choices| *choices > 1));
    }

    #[test]
    fn named_value_is_read_as_a_tree_of_it_is(
        (text, body) in body(),
        at in any::<prop::sample::Index>(),
        beside in prop_oneof![4 => Just(""), 1 => Just("/0"), 1 => Just("x")],
        escapes in any::<bool>(),
    ) {
        let mut all = Vec::new();
        pointers(&body, "", &mut all);
        let pointer = format!("{}{beside}", all[at.index(all.len())]);
        // Names with control characters are none that a plugin can declare.
        let Some(parsed) = JsonPointer::parse(&pointer) else { return Ok(()) };
        let names = WantedNames { fields: vec![parsed], ..WantedNames::default() };
        let fields = WantedFields { names: Some(Arc::new(names)), session: None };
        let text = if escapes { in_ascii(&text) } else { text };
        let found = facts(Route::Chat, text.as_bytes(), Wanted { fields, ..Wanted::default() });
        let expected = body.pointer(&pointer).and_then(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            _ => None,
        });
        prop_assert_eq!(found.fields.field(&pointer), expected.as_deref());
    }

    #[test]
    fn limit_and_stream_are_read_as_a_tree_of_them_is(
        limit in prop_oneof![value(), (0..9_u64).prop_map(Value::from)],
        newer in prop_oneof![Just(Value::Null), value(), (0..9_u64).prop_map(Value::from)],
        stream in prop_oneof![value(), any::<bool>().prop_map(Value::from)],
        route in prop_oneof![Just(Route::Chat), Just(Route::Completions), Just(Route::Generate), Just(Route::Embeddings)],
    ) {
        let params = [serde_json::json!({"n": 1, "max_new_tokens": limit}), newer.clone()];
        let body = serde_json::json!({
            "max_tokens": limit, "max_completion_tokens": newer, "sampling_params": params, "stream": stream,
        });
        let body = body.to_string();
        let found = facts(route, body.as_bytes(), ALL);
        let expected = match route {
            Route::Chat => count(&newer).or(count(&limit)),
            Route::Completions => count(&limit),
            Route::Generate => count(&limit).max(newer.get("max_new_tokens").and_then(count)),
            _ => None,
        };
        prop_assert_eq!(found.max_tokens, expected);
        let is_true = match &stream {
            Value::Bool(is_true) => *is_true,
            Value::Number(number) => number.as_u64() == Some(1),
            Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
            _ => false,
        };
        prop_assert_eq!(found.stream, is_true && route != Route::Embeddings);
    }

    #[test]
    fn prefix_is_hashed_as_a_tree_of_it_is((text, body) in body(), prompt in prompt(), escapes in any::<bool>()) {
        let blocks = PrefixBlocks { tokens: 1, text_bytes: 8, max_blocks: 20 };
        let wanted = || Wanted { prompt: true, model: true, prefix: Some(blocks), ..Wanted::default() };
        let model = body["model"].as_str().unwrap_or_default();
        let text = if escapes { in_ascii(&text) } else { text };
        let mut hasher = PrefixHasher::new(blocks, 0);
        for message in body["messages"].as_array().unwrap() {
            let parts = message["content"].as_array().map_or(&[][..], Vec::as_slice);
            let all = message["content"].as_str().into_iter().map(|text| (text, true));
            for (piece, _) in all.chain(parts.iter().filter_map(|part| Some((part.get("text")?.as_str()?, true)))) {
                hasher.text();
                hasher.more(piece.as_bytes());
            }
        }
        let expected = hasher.is_begun().then(|| hasher.finish(&PrefixSeed { model, ..PrefixSeed::default() }));
        // Other parts are hashed as they are written, which a tree does not know.
        let has_parts = body["messages"].as_array().unwrap().iter().flat_map(|message| message["content"].as_array());
        let has_parts = has_parts.flatten().filter_map(Value::as_object).any(|part| part.keys().any(|key| key != "text"));
        if !has_parts {
            prop_assert_eq!(facts(Route::Chat, text.as_bytes(), wanted()).prefix_hashes, expected);
        }

        let first = prompt.as_array().and_then(|items| items.iter().find(|item| !item.is_number())).unwrap_or(&prompt);
        let ids = if prompt.as_array().is_some_and(|items| items.first().is_some_and(Value::is_number)) {
            &prompt
        } else {
            first
        };
        let is_mixed = prompt.as_array().is_some_and(|items| {
            items.iter().any(Value::is_number) && items.iter().any(|item| !item.is_number())
        });
        let mut hasher = PrefixHasher::new(blocks, 0);
        if let Some(text) = first.as_str() {
            hasher.text();
            hasher.more(text.as_bytes());
        }
        for id in ids.as_array().into_iter().flatten().filter_map(count) {
            hasher.token(u32::try_from(id).unwrap_or(u32::MAX));
        }
        let expected = hasher.is_begun().then(|| hasher.finish(&PrefixSeed::default()));
        let body = serde_json::json!({"prompt": prompt}).to_string();
        let body = if escapes { in_ascii(&body) } else { body };
        if !is_mixed {
            prop_assert_eq!(facts(Route::Completions, body.as_bytes(), wanted()).prefix_hashes, expected);
        }
    }

    #[test]
    fn no_bytes_are_too_odd_to_be_looked_at(
        (text, _) in body(),
        cut in any::<prop::sample::Index>(),
        odd in vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = text.into_bytes();
        let at = cut.index(bytes.len());
        bytes.splice(at..(at + 1), odd);
        for route in [Route::Chat, Route::Completions, Route::Embeddings, Route::Generate] {
            let found = facts(route, &bytes, ALL);
            prop_assert!(found.prefix_hashes.is_none_or(|hashes| hashes.len() <= bytes.len() / 16 + 1));
            prop_assert!(found.text.as_deref().is_none_or(|text| text.len() <= found.text_bytes));
        }
    }
}

#[test]
fn what_an_engine_would_not_find_in_its_cache_has_other_hashes() {
    let long = "what is a router? ".repeat(20);
    let hashes = |route, fields: &str, prompt: &str| {
        let body = format!(r#"{{{fields} "model": "m", {prompt}}}"#);
        let found = facts(route, body.as_bytes(), ALL);
        assert_eq!(found.broken, None, "{body}");
        found.prefix_hashes.unwrap()
    };
    let user = format!(r#""messages": [{{"role": "user", "content": "{long}"}}]"#);
    let chat = |fields: &str, messages: &str| hashes(Route::Chat, fields, messages);
    let plain = chat("", &user);
    assert_eq!(plain.len(), (1 + 4 + 1 + long.len()) / 64);
    for fields in [r#""n": 2,"#, r#""tools": null,"#, r#""cache_salt": null,"#, r#""stream": true,"#] {
        assert_eq!(chat(fields, &user), plain, "{fields}");
    }
    let parts = |more: &str| {
        format!(
            r#""messages": [{{"role": "user", "content": [{{"type": "text", "text": "{long}"{more}}}]}}]"#
        )
    };
    assert_eq!(chat("", &parts("")), plain);
    assert_eq!(chat("", &parts(r#", "cache_control": {"type": "ephemeral"}"#)), plain);
    let mut seen = vec![plain.clone()];
    for fields in [
        r#""cache_salt": "a","#,
        r#""extra_key": "a","#,
        r#""lora_path": "a","#,
        r#""lora_path": ["a"],"#,
        r#""tools": [],"#,
        r#""tools": [{"type": "function"}],"#,
    ] {
        seen.push(chat(fields, &user));
    }
    seen.push(chat("", &user.replace("user", "system")));
    for first in [
        r#""content": null, "tool_calls": [{"id": "a"}]"#,
        r#""content": [{"type": "image_url", "image_url": "a"}]"#,
    ] {
        seen.push(chat("", &user.replace('[', &format!(r#"[{{"role": "user", {first}}}, "#))));
        seen.push(chat(
            "",
            &user.replace('[', &format!(r#"[{{"role": "user", {}}}, "#, first.replace("\"a\"", "\"b\""))),
        ));
    }
    seen.push(hashes(Route::Completions, "", &format!(r#""prompt": "{long}""#)));
    seen.push(hashes(Route::Completions, "", &format!(r#""prompt": ["b", "{long}"]"#)));
    let starts: std::collections::HashSet<_> = seen.iter().map(|hashes| hashes.first()).collect();
    assert_eq!(starts.len(), seen.len(), "{seen:x?}");
    let next = user.replace("\"}]", "\"}, {\"role\": \"assistant\", \"content\": \"a device\"}]");
    assert_eq!(chat("", &next)[..plain.len()], plain, "a conversation goes on");
    let batch = hashes(Route::Completions, "", &format!(r#""prompt": ["{long}", "b"]"#));
    assert_eq!(batch, hashes(Route::Completions, "", &format!(r#""prompt": "{long}""#)));
}

#[tokio::test]
async fn request_goes_to_the_workers_of_its_model_whatever_else_is_odd_in_it() {
    let [a, b] = [Upstream::saying("a").await, Upstream::saying("b").await];
    let serving =
        |worker: &Upstream, model: &str| WorkerEntry { model: Some(model.to_owned()), ..worker.entry() };
    let router = router::start(router::config(vec![serving(&a, "small"), serving(&b, "big")])).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    for odd in [r#""n": 1.0"#, r#""top_p": NaN"#, r#""user": "\ud83d""#, r#""messages": 7"#, r#""x": "a	b""#]
    {
        for (model, answer) in [("small", "a"), ("big", "b")] {
            let body = format!(r#"{{{odd}, "model": "{model}"}}"#);
            assert_eq!(client.call(post("/v1/chat/completions", &body)).await.text(), answer, "{body}");
        }
        let unknown = format!(r#"{{{odd}, "model": "huge"}}"#);
        let refused = client.call(post("/v1/chat/completions", &unknown)).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{unknown}");
    }
    assert_eq!(a.seen().len(), 5, "nothing went astray");
}

#[tokio::test]
async fn bodies_that_are_too_large_together_are_refused_and_fit_again_later() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_total_body_bytes = Some(1000);
    let router = router::start(config).await;
    let address = router.addresses().data;
    let mut holding = TcpStream::connect(address).await.unwrap();
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 700\r\n\r\n";
    holding.write_all(format!("{head}{}", "x".repeat(600)).as_bytes()).await.unwrap();
    // All that it announced, since that is reserved at once.
    let held = "sgl_router_body_bytes 700.0";
    until(async || router::metrics(&router).await.text().contains(held)).await;
    let refused = call(address, post("/generate", &"x".repeat(301))).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "router_out_of_memory")
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(call(address, post("/generate", &"x".repeat(300))).await.status, StatusCode::OK);
    holding.write_all("x".repeat(100).as_bytes()).await.unwrap();
    assert!(answer_head(&mut holding).await.starts_with("HTTP/1.1 200"));
    assert_eq!(call(address, post("/generate", &"x".repeat(900))).await.status, StatusCode::OK);
    assert!(router::metrics(&router).await.text().contains("sgl_router_refused_bodies_total 1"));
}

#[tokio::test]
async fn body_that_does_not_come_gives_its_memory_to_others() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_total_body_bytes = Some(1000);
    config.proxy.client_idle = std::time::Duration::from_millis(500);
    let router = router::start(config).await;
    let address = router.addresses().data;
    let mut stalled = TcpStream::connect(address).await.unwrap();
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 900\r\n\r\n{";
    stalled.write_all(head.as_bytes()).await.unwrap();
    let held = "sgl_router_body_bytes 900.0";
    until(async || router::metrics(&router).await.text().contains(held)).await;
    let post = || post("/generate", &"x".repeat(500));
    assert_eq!(call(address, post()).await.code(), "router_out_of_memory");
    until(async || call(address, post()).await.status == StatusCode::OK).await;
    assert!(answer_head(&mut stalled).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn body_of_unknown_length_counts_with_the_memory_that_is_reserved_for_it() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_payload_bytes = 1000;
    let router = router::start(config).await;
    let counted = async |bytes: u64| {
        let line = format!("sgl_router_body_bytes {bytes}.0");
        until(async || router::metrics(&router).await.text().contains(&line)).await;
    };
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
    stream
        .write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    // As much again as came, but no more than a body may have.
    for (length, bytes) in [(300, 300), (100, 600), (300, 1000)] {
        stream.write_all(chunk(length).as_bytes()).await.unwrap();
        counted(bytes).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(answer_head(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(worker.seen()[0].body.len(), 700);
    counted(0).await;
}

#[tokio::test]
async fn client_is_asked_for_its_body_only_if_it_will_be_used() {
    let worker = Upstream::saying("{}").await;
    let mut config = router::config(vec![worker.entry()]);
    config.proxy.max_payload_bytes = 1000;
    config.proxy.max_total_body_bytes = Some(900);
    let router = router::start(config).await;
    let target = router::target(&router, &worker.url()).unwrap();
    for (request, length, is_passing, expected) in [
        ("POST /generate", 1001, true, "413"),
        ("POST /generate", 901, true, "503"),
        ("POST /nothing", 10, true, "404"),
        ("PUT /generate", 10, true, "405"),
        ("POST /generate", 10, false, "503"),
        ("POST /generate", 10, true, "100"),
    ] {
        target.set_passing(is_passing);
        let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: r\r\nexpect: 100-Continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = answer_head(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request} {length}: {answer}");
        if expected == "100" {
            stream.write_all(b"0123456789").await.unwrap();
            assert!(answer_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        }
    }
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn client_is_not_asked_for_a_body_that_nobody_of_the_right_role_could_take() {
    let worker = Upstream::saying("{}").await;
    let as_role = |role, worker: &Upstream| WorkerEntry { role, ..worker.entry() };
    let (prefill, decode) = (Upstream::saying("{}").await, Upstream::saying("{}").await);
    let router = router::start(router::config(vec![
        as_role(WorkerRole::Regular, &worker),
        as_role(WorkerRole::Prefill, &prefill),
        as_role(WorkerRole::Decode, &decode),
    ]))
    .await;
    let (regular, pair) = (&[&worker][..], &[&prefill, &decode][..]);
    for (well, path, expected) in [
        (regular, "/generate", "100"),
        (regular, "/v1/embeddings", "100"),
        (pair, "/generate", "100"),
        (pair, "/v1/embeddings", "503"),
        (&[&prefill], "/generate", "503"),
        (&[&decode], "/generate", "503"),
    ] {
        for one in [&worker, &prefill, &decode] {
            let is_well = well.iter().any(|well| std::ptr::eq(*well, one));
            router::target(&router, &one.url()).unwrap().set_passing(is_well);
        }
        let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = answer_head(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path} {expected}: {answer}");
    }
}

#[tokio::test]
async fn full_worker_does_not_keep_a_client_from_being_asked_for_its_body() {
    let worker = Upstream::failing(503).await;
    let router = router::over(&[&worker]).await;
    for _ in 0..2 {
        let mut stream = TcpStream::connect(router.addresses().data).await.unwrap();
        let head = "POST /generate HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(answer_head(&mut stream).await.starts_with("HTTP/1.1 100 "));
        stream.write_all(b"{}").await.unwrap();
        assert!(answer_head(&mut stream).await.starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(worker.seen().len(), 2, "it is the worker's own answer");
}

#[tokio::test]
async fn expectation_that_nobody_knows_is_refused() {
    let worker = Upstream::saying("{}").await;
    let router = router::over(&[&worker]).await;
    for (expected, status) in [("200-ok", 417), ("100-continue, x=y", 417), ("", 200)] {
        let mut request = post("/generate", "{}");
        request.headers_mut().insert("expect", expected.parse().unwrap());
        let answer = call(router.addresses().data, request).await;
        assert_eq!(answer.status.as_u16(), status, "{expected}");
        if status == 417 {
            assert_eq!(answer.code(), "expectation_failed");
        }
    }
    assert_eq!(worker.seen().len(), 1);
}

/// The next head of an answer.
async fn answer_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("an answer"));
    }
    String::from_utf8(head).expect("text")
}
