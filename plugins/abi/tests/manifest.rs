//! Every way in which a manifest is refused.

use sgl_policy_abi::*;

fn manifest(entries: &[(&str, Value)]) -> Vec<u8> {
    let map = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let map = Value::Map(map);
    encode_to_vec(|w| map.encode(w)).expect("fits")
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

fn texts(names: &[&str]) -> Value {
    Value::Array(names.iter().copied().map(text).collect())
}

#[test]
fn manifest_with_only_the_required_keys_has_the_defaults() {
    let decoded = Manifest::decode(&manifest(&[("abi", Value::Int(1)), ("name", text("p"))]));
    let expected = Manifest { name: "p".to_owned(), ..Manifest::default() };
    assert_eq!(expected.wire, Wire::Rows);
    assert_eq!(expected.concurrency, Concurrency::Parallel);
    assert_eq!(decoded, Ok(expected));
}

#[test]
fn manifest_with_unknown_keys_is_read() {
    let decoded = Manifest::decode(&manifest(&[
        ("licence", texts(&["MIT"])),
        ("abi", Value::Int(1)),
        ("name", text("p")),
        ("wire", text("columns")),
        ("inputs", texts(&["load", "header:x-a"])),
    ]));
    let inputs = decoded.map(|manifest| manifest.inputs);
    assert_eq!(inputs, Ok(vec![Input::Load, Input::Header("x-a".into())]));
}

#[test]
fn manifest_of_another_abi_is_refused_before_its_keys_are_read() {
    for abi in [0, 2, 99] {
        let bytes = manifest(&[("name", Value::Int(7)), ("wire", text("later")), ("abi", Value::Int(abi))]);
        let found = u64::try_from(abi).expect("small");
        let error = Manifest::decode(&bytes).expect_err("another abi");
        assert_eq!(error, ManifestError::UnsupportedAbi { found });
        assert!(error.to_string().contains("speaks abi 1"), "{error}");
    }
}

#[test]
fn manifest_without_a_required_key_names_it() {
    let abi = ("abi", Value::Int(1));
    let name = ("name", text("p"));
    let missing = |entries: &[(&str, Value)]| Manifest::decode(&manifest(entries));
    assert_eq!(missing(std::slice::from_ref(&name)), Err(ManifestError::MissingKey("abi")));
    assert_eq!(missing(std::slice::from_ref(&abi)), Err(ManifestError::MissingKey("name")));
    let columns = [abi, name, ("wire", text("columns"))];
    assert_eq!(missing(&columns), Err(ManifestError::MissingKey("inputs")));
}

#[test]
fn manifest_with_a_bad_value_names_its_key() {
    let base = [("abi", Value::Int(1)), ("name", text("p"))];
    let with = |key: &'static str, value: Value| {
        let entries: Vec<_> = base.iter().cloned().chain([(key, value)]).collect();
        Manifest::decode(&manifest(&entries)).expect_err("bad value")
    };
    let key_of = |error: ManifestError| match error {
        ManifestError::WrongType { key, .. } | ManifestError::UnknownWord { key, .. } => key,
        other => panic!("unexpected {other:?}"),
    };
    for key in ["version", "description", "wire", "inputs", "concurrency"] {
        assert_eq!(key_of(with(key, Value::Int(1))), key);
    }
    assert_eq!(key_of(with("abi", text("1"))), "abi");
    for key in ["wire", "concurrency"] {
        assert_eq!(key_of(with(key, text("sometimes"))), key);
    }
    let unknown = with("inputs", texts(&["load", "cpu"]));
    assert!(unknown.to_string().contains("unknown input `cpu`"), "{unknown}");
    assert_eq!(with("inputs", texts(&["load", "load"])), ManifestError::RepeatedInput("load".to_owned()));
    let headers: Vec<String> = (0..=MAX_INPUTS).map(|number| format!("header:x-{number}")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(with("inputs", texts(&headers)), ManifestError::TooManyInputs { found: MAX_INPUTS + 1 });
}

#[test]
fn manifest_that_is_no_single_map_is_malformed() {
    let good = manifest(&[("abi", Value::Int(1)), ("name", text("p"))]);
    let trailing = [good.as_slice(), &[0xc0]].concat();
    for bytes in [b"".as_slice(), &[0x01], &good[..good.len() - 1], &trailing] {
        assert!(matches!(Manifest::decode(bytes), Err(ManifestError::Malformed(_))));
    }
}
