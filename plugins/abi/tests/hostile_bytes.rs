//! Bytes that nobody's encoder wrote.

use proptest::collection::vec;
use proptest::prelude::*;
use sgl_policy_abi::*;

/// Runs every decoder, and every iterator that a decoder hands out.
fn decode_everything(bytes: &[u8]) {
    let _ = Reader::new(bytes).skip();
    let _ = Value::decode(&mut Reader::new(bytes));
    let _ = Manifest::decode(bytes);
    let _ = Init::decode(bytes);
    let _ = init_error(bytes);
    let _ = Answer::decode(bytes);
    let _ = PairAnswer::decode(bytes);
    if let Ok(table) = TableMessage::decode(bytes) {
        for worker in table.workers().flatten() {
            let _ = worker.labels.get("weight");
            assert!(worker.engine.models.is_none_or(|models| models.iter().count() <= bytes.len()));
        }
    }
    if let Ok(batch) = CompletionBatch::decode(bytes) {
        assert!(batch.iter().count() <= bytes.len());
    }
    if let Ok(batch) = SessionEndBatch::decode(bytes) {
        assert!(batch.iter().count() == batch.len());
    }
    if let Ok(batch) = FirstTokenBatch::decode(bytes) {
        assert!(batch.iter().count() <= bytes.len());
    }
    if let Ok(rows) = RowsMessage::decode(bytes) {
        assert!(rows.workers().count() <= bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
    }

    #[test]
    fn arbitrary_markers_never_panic(bytes in vec(prop_oneof![0x80u8..=0x9f, 0xa0u8..=0xa4, 0xc0u8..=0xdf, 0u8..=4], 0..60)) {
        decode_everything(&bytes);
    }

    #[test]
    fn flipped_bytes_of_a_real_message_never_panic(at: prop::sample::Index, byte: u8) {
        let names = ["m".to_owned(), "sql".to_owned()];
        let mut bytes = encode_to_vec(|w| {
            encode_table(w, 3, 2)?;
            for url in ["http://a", "http://b"] {
                let facts = WorkerFacts { url, model: Some("m"), role: WorkerRole::Prefill, weight: 2.0, labels: Labels::default(), engine: KnownEngine { name: Some("e"), block_size: Some(16), models: KnownModels::new(&names), ..KnownEngine::default() } };
                encode_worker(w, &facts, [("zone", "1")].into_iter())?;
            }
            Ok(())
        }).expect("fits");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_everything(&bytes);
    }
}

fn nested(levels: usize, opener: &[u8]) -> Vec<u8> {
    let mut bytes = opener.repeat(levels);
    bytes.push(0xc0);
    bytes
}

#[test]
fn nesting_beyond_the_limit_is_too_deep_in_every_reader() {
    let depth = usize::try_from(MAX_DEPTH).expect("small");
    // An array of one, and a map of one entry with an empty key.
    for opener in [[0x91].as_slice(), [0x81, 0xa0].as_slice()] {
        let fits = nested(depth, opener);
        assert_eq!(Reader::new(&fits).skip(), Ok(()));
        assert!(Value::decode(&mut Reader::new(&fits)).is_ok());
        for levels in [depth + 1, 100_000] {
            let deep = nested(levels, opener);
            assert_eq!(Reader::new(&deep).skip(), Err(DecodeError::TooDeep));
            assert_eq!(Value::decode(&mut Reader::new(&deep)), Err(DecodeError::TooDeep));
        }
    }
    let mut state = b"\x81\xa5state\x81\xa1a".to_vec();
    state.extend(nested(100_000, &[0x91]));
    assert_eq!(Answer::decode(&state), Err(DecodeError::TooDeep));
}

#[test]
fn claimed_lengths_beyond_the_message_are_truncated_not_allocated() {
    let headers: [&[u8]; 6] = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xdc, 0x00, 0x02, 0xc0],
        &[0xde, 0x00, 0x01, 0xa0],
    ];
    for bytes in headers {
        assert_eq!(Reader::new(bytes).skip(), Err(DecodeError::Truncated));
        assert_eq!(Value::decode(&mut Reader::new(bytes)), Err(DecodeError::Truncated));
    }
}

#[test]
fn answer_of_the_wrong_shape_names_what_is_wrong() {
    let wrong = |found| Err(DecodeError::WrongType { expected: Expected::Answer, found });
    assert_eq!(Answer::decode(b"\xa3one"), wrong(Kind::Str));
    assert_eq!(Answer::decode(&[0xc3]), wrong(Kind::Bool));
    assert_eq!(Answer::decode(&[0xc1]), wrong(Kind::Other));
    assert_eq!(Answer::decode(&[1, 2]), Err(DecodeError::TrailingBytes));
    assert_eq!(Answer::decode(&[0xcd, 1]), Err(DecodeError::Truncated));
    assert_eq!(
        Answer::decode(b"\x81\xa5state\x01"),
        Err(DecodeError::WrongType { expected: Expected::Map, found: Kind::Int })
    );
    assert_eq!(Answer::decode(b"\x81\xa5error\xa1\xff"), Err(DecodeError::NotUtf8));
    assert_eq!(
        Answer::decode(&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]),
        Err(DecodeError::OutOfRange { expected: Expected::Int })
    );
    assert_eq!(
        Answer::decode(b"\x81\xa5other\xc7\x01\x01\x01"),
        Err(DecodeError::Unsupported { marker: 0xc7 })
    );
}

#[test]
fn answer_above_the_result_limit_is_too_large() {
    let len = MAX_RESULT_BYTES + 1;
    let bytes = vec![0; len];
    let expected = DecodeError::TooLarge;
    assert_eq!(Answer::decode(&bytes), Err(expected));
    assert_eq!(PairAnswer::decode(&bytes), Err(expected));
}

#[test]
fn negative_and_huge_indices_are_data_for_the_host_to_refuse() {
    assert_eq!(Answer::decode(&[0xff]), Ok(Answer::Index(-1)));
    assert_eq!(Answer::decode(&[0xce, 255, 255, 255, 255]), Ok(Answer::Index(4_294_967_295)));
    let pair = PairAnswer::decode(&[0x92, 0xff, 0x02]);
    assert_eq!(pair.map(|pair| pair.selected()), Ok(Some((-1, 2))));
}

#[test]
fn pair_of_the_wrong_length_is_refused() {
    for bytes in [[0x91, 1].as_slice(), &[0x93, 1, 2, 3], &[0x90]] {
        assert!(matches!(PairAnswer::decode(bytes), Err(DecodeError::OutOfRange { .. })));
    }
}

#[test]
fn pair_map_with_one_index_selects_nothing() {
    let pair = PairAnswer::decode(b"\x81\xa7prefill\x01").expect("well formed");
    assert!(matches!(pair, PairAnswer::Map(PairMap { prefill: Some(1), decode: None, .. })));
    assert_eq!(pair.selected(), None);
}

#[test]
fn table_without_a_url_or_with_an_unknown_role_is_refused() {
    let table = |worker: &[u8]| {
        let mut bytes = b"\x82\xa7version\x01\xa7workers\x91".to_vec();
        bytes.extend_from_slice(worker);
        bytes
    };
    let first = |bytes: &[u8]| {
        TableMessage::decode(bytes).expect("head").workers().next().expect("one").map(|w| w.role)
    };
    assert_eq!(first(&table(b"\x81\xa5model\xc0")), Err(DecodeError::Missing { key: Key::Url }));
    assert_eq!(
        first(&table(b"\x82\xa3url\xa1a\xa4role\xa1x")),
        Err(DecodeError::UnknownWord { key: Key::Role })
    );
    assert_eq!(first(&table(b"\x82\xa3url\xa1a\xa6future\x90")), Ok(WorkerRole::Regular));
}

#[test]
fn completion_with_too_few_fields_is_refused_and_with_more_is_read() {
    let short = CompletionBatch::decode(&[0x92, 1, 0x91, 0x92, 0, 0xc3]).expect("head");
    assert_eq!(short.iter().next(), Some(Err(DecodeError::Missing { key: Key::Completion })));
    let nils = [0xc0; 5];
    let entry = |elements: u8, more: &[u8]| {
        let message = [&[0x92, 1, 0x91, 0x90 + elements, 4, 0xc3][..], &nils, more].concat();
        let batch = CompletionBatch::decode(&message).expect("head");
        batch.iter().next()
    };
    let first = Completion { worker: 4, ok: true, ..Completion::default() };
    assert_eq!(entry(7, &[]), Some(Ok(first)), "of the first routers");
    assert_eq!(entry(8, &[5]), Some(Ok(Completion { cached_tokens: Some(5), ..first })));
    let known = Completion { cached_tokens: Some(5), tag: Some(6), ..first };
    assert_eq!(entry(9, &[5, 6]), Some(Ok(known)));
    assert_eq!(entry(11, &[5, 6, 0x91, 0xc0, 0xc3]), Some(Ok(known)));
    assert!(matches!(entry(8, &[0xff]), Some(Err(_))), "never negative");
}

#[test]
fn first_token_with_too_few_fields_is_refused_and_with_more_is_read() {
    let short = FirstTokenBatch::decode(&[0x92, 1, 0x91, 0x92, 0, 0xc0]).expect("head");
    assert_eq!(short.iter().next(), Some(Err(DecodeError::Missing { key: Key::FirstToken })));
    let long = [0x93, 1, 0x91, 0x94, 4, 9, 0xca, 0x40, 0xa0, 0, 0, 0x91, 0xc0, 0xc3];
    let batch = FirstTokenBatch::decode(&long).expect("head");
    assert_eq!(batch.iter().next(), Some(Ok(FirstToken { worker: 4, tag: Some(9), ms: 5.0 })));
}

#[test]
fn init_answer_is_ready_when_empty_nil_or_without_error() {
    for ready in [b"".as_slice(), &[0xc0], &[0x80], b"\x81\xa5error\xc0", b"\x81\xa4name\xa1x"] {
        assert_eq!(init_error(ready), Ok(None));
    }
    let failed = encode_to_vec(|w| encode_error(w, "no weights")).expect("fits");
    assert_eq!(init_error(&failed), Ok(Some("no weights")));
    assert!(init_error(&[0x01]).is_err());
}

fn answer(write: impl Fn(&mut Writer<'_>) -> Result<(), Full>) -> Vec<u8> {
    encode_to_vec(write).expect("fits")
}

#[test]
fn ticket_may_lack_its_tag_or_its_cost_and_its_array_must_have_two_or_three_elements() {
    let ticketed = |tag, cost| Ok(Answer::Ticketed { index: 1, ticket: Ticket::new(tag, cost) });
    assert_eq!(Answer::decode(&[0x93, 1, 0xc0, 0xc0]), ticketed(None, 0.0));
    assert_eq!(Answer::decode(&[0x93, 1, 7, 0xc0]), ticketed(Some(7), 0.0));
    assert_eq!(Answer::decode(&[0x93, 1, 7, 3]), ticketed(Some(7), 3.0));
    assert_eq!(Answer::decode(&[0x92, 1, 7]), ticketed(Some(7), 0.0));
    let out_of_range = Err(DecodeError::OutOfRange { expected: Expected::Answer });
    assert_eq!(Answer::decode(&[0x90]), out_of_range);
    assert_eq!(Answer::decode(&[0x91, 1]), out_of_range);
    assert_eq!(Answer::decode(&[0x94, 1, 7, 3, 3]), out_of_range);
    let wrong = |expected, found| Err(DecodeError::WrongType { expected, found });
    assert_eq!(Answer::decode(&[0x92, 0xc0, 7]), wrong(Expected::Int, Kind::Nil));
    assert_eq!(Answer::decode(&[0x92, 1, 0xa0]), wrong(Expected::Uint, Kind::Str));
    assert_eq!(Answer::decode(&[0x93, 1, 7, 0xa0]), wrong(Expected::Number, Kind::Str));
    assert_eq!(Answer::decode(&[0x92, 1, 0xff]), Err(DecodeError::OutOfRange { expected: Expected::Uint }));
}

#[test]
fn cost_that_is_no_finite_number_of_its_range_makes_every_answer_malformed() {
    let wrong = Err(DecodeError::OutOfRange { expected: Expected::Cost });
    for cost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, MAX_COST * 1.01] {
        let ticket = Ticket::new(Some(7), cost);
        assert!(!ticket.is_valid(), "{cost}");
        let packed = answer(|w| Answer::Ticketed { index: 1, ticket }.encode(w));
        assert_eq!(Answer::decode(&packed), wrong, "{cost}");
        let map = answer(|w| Answer::Map(AnswerMap { ticket, ..AnswerMap::default() }).encode(w));
        assert_eq!(Answer::decode(&map), wrong, "{cost}");
        let wrong = Err(DecodeError::OutOfRange { expected: Expected::Cost });
        for (first, decode_cost) in [(cost, 0.0), (0.0, cost)] {
            let map = PairMap { ticket: Ticket::new(None, first), decode_cost, ..PairMap::default() };
            assert_eq!(PairAnswer::decode(&answer(|w| PairAnswer::Map(map).encode(w))), wrong, "{cost}");
        }
    }
    for cost in [-1i64, 1 << 37] {
        let packed = answer(|w| {
            w.array(3)?;
            w.int(1)?;
            w.nil()?;
            w.int(cost)
        });
        assert_eq!(Answer::decode(&packed), wrong, "{cost}");
    }
    // A float of eight bytes that no f32 holds.
    let wide = answer(|w| {
        w.array(3)?;
        w.int(1)?;
        w.nil()?;
        w.f64(1e300)
    });
    assert_eq!(Answer::decode(&wide), wrong);
}
