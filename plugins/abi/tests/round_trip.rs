//! What one side writes, the other reads; checked through the public API only.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sgl_policy_abi::*;

fn text() -> impl Strategy<Value = String> {
    // Lengths around the borders of the string headers (32, 256, 65536).
    prop_oneof![
        ".{0,40}",
        (250usize..260).prop_map(|n| "x".repeat(n)),
        (65_530usize..65_540).prop_map(|n| "y".repeat(n))
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-300i64..300).prop_map(Value::Int),
        ((1u64 << 63)..).prop_map(Value::Uint),
        (-1e300f64..1e300).prop_map(Value::Float),
        text().prop_map(Value::Str),
        vec(any::<u8>(), 0..300).prop_map(Value::Bin),
    ];
    leaf.prop_recursive(5, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::Array),
            vec((".{0,8}", inner), 0..20).prop_map(Value::Map),
        ]
    })
}

fn engine_facts<'a>(name: &'a Option<String>, number: Option<u32>, models: &'a [String]) -> KnownEngine<'a> {
    KnownEngine {
        name: name.as_deref(),
        block_size: number,
        max_running_requests: number,
        dp_rank: number,
        models: KnownModels::new(models),
        ..KnownEngine::default()
    }
}

fn encoded(encode: impl FnMut(&mut Writer<'_>) -> Result<(), Full>) -> Vec<u8> {
    encode_to_vec(encode).expect("fits into memory")
}

proptest! {
    #[test]
    fn integers_keep_their_value_in_their_shortest_form(value: i64, shift in 0u32..64) {
        let value = value >> shift;
        let bytes = encoded(|w| w.int(value));
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.int(), Ok(value));
        prop_assert_eq!(r.finish(), Ok(()));
        let longest = match value {
            -32..=127 => 1,
            -128..=255 => 2,
            -32_768..=65_535 => 3,
            -2_147_483_648..=4_294_967_295 => 5,
            _ => 9,
        };
        prop_assert_eq!(bytes.len(), longest);
    }

    #[test]
    fn unsigned_integers_keep_their_value(value: u64, shift in 0u32..64) {
        let value = value >> shift;
        let bytes = encoded(|w| w.uint(value));
        prop_assert_eq!(Reader::new(&bytes).uint(), Ok(value));
    }

    #[test]
    fn values_survive_the_round_trip_and_are_skipped_whole(value in value()) {
        let bytes = encoded(|w| value.encode(w));
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(Value::decode(&mut r), Ok(value));
        prop_assert_eq!(r.finish(), Ok(()));
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.raw(), Ok(bytes.as_slice()));
    }

    #[test]
    fn truncated_values_are_errors(value in value(), cut: prop::sample::Index) {
        let bytes = encoded(|w| value.encode(w));
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(Value::decode(&mut Reader::new(cut)).is_err());
        prop_assert!(Reader::new(cut).skip().is_err());
    }

    #[test]
    fn writer_into_a_short_buffer_says_full(value in value(), cut: prop::sample::Index) {
        let len = encoded(|w| value.encode(w)).len();
        let mut buffer = vec![0; cut.index(len)];
        prop_assert_eq!(value.encode(&mut Writer::new(&mut buffer)), Err(Full));
        let mut buffer = vec![0; len];
        prop_assert_eq!(value.encode(&mut Writer::new(&mut buffer)), Ok(()));
    }

    #[test]
    fn init_survives_the_round_trip(plugin in text(), generation: u64, seed: u64, config in vec((".{0,8}", value()), 0..4)) {
        let init = Init { abi: 1, plugin, generation, config, seed };
        prop_assert_eq!(Init::decode(&encoded(|w| init.encode(w))), Ok(init));
    }

    #[test]
    fn table_survives_the_round_trip(
        version: u64,
        workers in vec((".{0,40}", option::of(".{0,9}"), 0usize..3, 0.0f64..9.0, vec((".{0,5}", ".{0,5}"), 0..4), (option::of(".{0,9}"), option::of(any::<u32>()), vec(".{0,40}", 0..20))), 0..20),
    ) {
        let roles = [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode];
        let bytes = encoded(|w| {
            encode_table(w, version, workers.len())?;
            workers.iter().try_for_each(|(url, model, role, weight, labels, (engine, number, models))| {
                let facts = WorkerFacts { url, model: model.as_deref(), role: roles[*role], weight: *weight, labels: Labels::default(), engine: engine_facts(engine, *number, models) };
                encode_worker(w, &facts, labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            })
        });
        let table = TableMessage::decode(&bytes).expect("just written");
        prop_assert_eq!((table.version(), table.len()), (version, workers.len()));
        for (read, (url, model, role, weight, labels, (engine, number, models))) in table.workers().zip(&workers) {
            let read = read.expect("just written");
            prop_assert_eq!((read.url, read.model, read.role, read.weight), (url.as_str(), model.as_deref(), roles[*role], *weight));
            prop_assert_eq!(read.engine, engine_facts(engine, *number, models));
            let kept = read.engine.models.and_then(KnownModels::as_parts).and_then(|(parts, count)| KnownModels::from_parts(parts, count));
            prop_assert_eq!(kept.map(|kept| kept.len()).unwrap_or_default(), models.len());
            prop_assert!(kept.into_iter().flat_map(KnownModels::iter).eq(models));
            let (parts, count) = read.labels.as_parts();
            let kept: Vec<_> = Labels::from_parts(parts, count).iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&kept, labels);
        }
    }

    #[test]
    fn completions_survive_the_round_trip(
        table: u64,
        entries in vec((any::<u32>(), any::<bool>(), option::of(any::<u16>()), option::of(0.0f32..1e9), option::of(any::<u32>()), option::of(any::<u64>())), 0..20),
    ) {
        let entries: Vec<Completion> = entries.into_iter().map(|(worker, ok, status, ms, tokens, tag)| Completion {
            worker, ok, status, first_byte_ms: ms, total_ms: ms.map(|ms| ms * 2.0), prompt_tokens: tokens, completion_tokens: tokens,
            cached_tokens: tokens, tag,
        }).collect();
        let bytes = encoded(|w| encode_completions(w, table, entries.iter()));
        let batch = CompletionBatch::decode(&bytes).expect("just written");
        prop_assert_eq!((batch.table(), batch.len()), (table, entries.len()));
        let read: Result<Vec<_>, _> = batch.iter().collect();
        prop_assert_eq!(read, Ok(entries));
    }

    #[test]
    fn ends_of_sessions_survive_the_round_trip(sessions in vec(".{0,40}", 0..20)) {
        let bytes = encoded(|w| encode_session_ends(w, sessions.iter().map(String::as_str)));
        let batch = SessionEndBatch::decode(&bytes).expect("just written");
        let found: Vec<&str> = batch.iter().map(|session| session.expect("just written")).collect();
        prop_assert_eq!(found, sessions);
    }

    #[test]
    fn first_tokens_survive_the_round_trip(
        table: u64,
        entries in vec((any::<u32>(), option::of(any::<u64>()), 0.0f32..1e9), 0..20),
    ) {
        let entries: Vec<FirstToken> =
            entries.into_iter().map(|(worker, tag, ms)| FirstToken { worker, tag, ms }).collect();
        let bytes = encoded(|w| encode_first_tokens(w, table, entries.iter()));
        let batch = FirstTokenBatch::decode(&bytes).expect("just written");
        prop_assert_eq!((batch.table(), batch.len()), (table, entries.len()));
        let read: Result<Vec<_>, _> = batch.iter().collect();
        prop_assert_eq!(read, Ok(entries));
    }

    #[test]
    fn rows_survive_the_round_trip(
        workers in vec((".{0,30}", any::<bool>(), any::<i64>()), 0..20),
        request_text in option::of(text()),
        config in vec((".{0,8}", value()), 0..3),
        state in vec((".{0,8}", value()), 0..3),
    ) {
        let config = encoded(|w| Value::Map(config.clone()).encode(w));
        let state = encoded(|w| Value::Map(state.clone()).encode(w));
        let rows: Vec<_> = workers.iter().map(|(url, healthy, load)| RowWorker { url, healthy: *healthy, load: *load }).collect();
        let bytes = encoded(|w| encode_rows(w, rows.iter().copied(), request_text.as_deref(), &config, &state));
        let message = RowsMessage::decode(&bytes).expect("just written");
        prop_assert_eq!(message.request_text, request_text.as_deref());
        prop_assert_eq!((message.config, message.state), (config.as_slice(), state.as_slice()));
        let read: Result<Vec<_>, _> = message.workers().collect();
        prop_assert_eq!(read, Ok(rows));
    }

    #[test]
    fn answers_survive_the_round_trip(
        index: i64,
        selected_worker in option::of(any::<i64>()),
        state in option::of(vec((".{0,8}", value()), 0..3)),
        error in option::of(text()),
        scores in option::of(vec(any::<u8>(), 0..300)),
        reason in option::of(text()),
        tag in option::of(any::<u64>()),
        costs in (0.0f32..=MAX_COST, 0.0f32..=MAX_COST),
        wait in option::of((-1e300f64..1e300, option::of(any::<u64>()))),
        shed in option::of(any::<u64>()),
    ) {
        let ticket = Ticket::new(tag, costs.0);
        let wait = wait.map(|(key, deadline_ms)| WaitAnswer { key, deadline_ms });
        let shed = shed.map(|retry_after_ms| ShedAnswer { retry_after_ms });
        let state = state.map(|state| encoded(|w| Value::Map(state.clone()).encode(w)));
        let map = AnswerMap { wait, shed, selected_worker, state: state.as_deref(), error: error.as_deref(), scores: scores.as_deref(), reason: reason.as_deref(), ticket };
        for answer in [Answer::Index(index), Answer::Index(index & 0xff), Answer::NoChoice, Answer::Ticketed { index, ticket }, Answer::Map(map)] {
            let bytes = encoded(|w| answer.encode(w));
            prop_assert_eq!(Answer::decode(&bytes), Ok(answer));
        }
        let pair_map = PairMap { wait, shed, prefill: selected_worker, decode: Some(index), error: error.as_deref(), reason: reason.as_deref(), ticket, decode_cost: costs.1 };
        for answer in [PairAnswer::Pair { prefill: index, decode: 3 }, PairAnswer::NoChoice, PairAnswer::Map(pair_map)] {
            let bytes = encoded(|w| answer.encode(w));
            prop_assert_eq!(PairAnswer::decode(&bytes), Ok(answer));
        }
    }

    #[test]
    fn manifest_survives_the_round_trip(name in text(), version in text(), description in text(), picked in vec(0usize..27, 0..27), serial: bool, columns: bool) {
        let names = ["healthy", "excluded", "load", "running", "waiting", "queued_tokens", "kv_usage", "throughput", "latency_ewma", "report_age_ms",
            "prefill_load", "prefill_tokens", "uncached_tokens", "tokens_in_flight", "pending_cost", "oldest_pending_ms", "ttft_ewma", "tpot_ewma", "load_elsewhere",
            "request_text", "request_tokens", "prompt_bytes", "model", "header:x-id", "leg", "random", "now_ns"];
        let mut inputs: Vec<Input> = Vec::new();
        for input in picked.into_iter().map(|i| Input::parse(names[i]).expect("known")) {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        let manifest = Manifest {
            abi: ABI_VERSION, name, version, description, inputs,
            wire: if columns { Wire::Columns } else { Wire::Rows },
            concurrency: if serial { Concurrency::Serial } else { Concurrency::Parallel },
        };
        prop_assert_eq!(Manifest::decode(&encoded(|w| manifest.encode(w))), Ok(manifest));
    }
}

#[test]
fn column_message_is_read_in_place_in_the_declared_order() {
    let bytes = encoded(|w| {
        w.array(4)?;
        w.uint(7)?;
        w.bin(1)?.copy_from_slice(&[0b101]);
        for (entry, load) in w.bin(12)?.chunks_exact_mut(4).zip([3i32, -1, 5]) {
            entry.copy_from_slice(&load.to_le_bytes());
        }
        w.opt_str(None)
    });
    let mut r = Reader::new(&bytes);
    assert_eq!((r.array(), r.uint()), (Ok(4), Ok(7)));
    assert_eq!(r.bin(), Ok([0b101].as_slice()));
    assert_eq!(r.bin(), Ok([3, 0, 0, 0, 255, 255, 255, 255, 5, 0, 0, 0].as_slice()));
    assert_eq!((r.opt_str(), r.finish()), (Ok(None), Ok(())));
}

#[test]
fn header_input_is_made_from_a_constant() {
    const SESSION: Input = Input::Header(Cow::Borrowed("x-session-id"));
    assert_eq!(Input::parse("header:x-session-id"), Ok(SESSION));
}

#[test]
fn bins_are_the_same_as_one_bin_after_another() {
    for len in [0, 1, 255, 256, 65_535, 65_536] {
        let fill = |out: &mut [u8], number: u8| out.fill(number);
        let one_by_one = encode_to_vec(|w| {
            w.uint(7)?;
            (1..4).try_for_each(|number| w.bin(len).map(|out| fill(out, number)))
        });
        let together = encode_to_vec(|w| {
            w.uint(7)?;
            let (header, out) = w.bins(3, len)?;
            for (bin, number) in out.chunks_exact_mut(header + len).zip(1..) {
                fill(&mut bin[header..], number);
            }
            Ok(())
        });
        assert_eq!(together, one_by_one, "{len}");
    }
    assert_eq!(Writer::new(&mut [0; 11]).bins(3, 2), Err(Full), "twelve bytes");
    assert_eq!(Writer::new(&mut [0; 11]).bins(usize::MAX, 2), Err(Full));
}
