//! The load that SGLang pushes: an array that begins with its type's name.
//!
//! `["LoadStat", running, waiting, KV tokens in use, KV capacity, rank, uncached tokens that wait, …]`; later versions
//! append fields.

use serde::Deserialize;

use crate::proxy::engines::figure::{Figure, Sceptic};
use crate::proxy::engines::reading::{Bounded, RankLoad};

/// How deep values may be nested.
const MAX_DEPTH: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum StatField {
    Name(String),
    Figure(Figure),
}

/// The load of the rank of this number, and whether all of it can be; `None` if it is none.
pub(crate) fn read_load(bytes: &[u8], rank: u32) -> Option<(RankLoad, bool)> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(MAX_DEPTH);
    let Bounded(mut entries) = Bounded::<StatField>::deserialize(&mut reader).ok()?;
    if !matches!(entries.first()?, StatField::Name(name) if name == "LoadStat") {
        return None;
    }
    let figures: Vec<Figure> = entries
        .drain(1..)
        .map(|entry| if let StatField::Figure(figure) = entry { figure } else { Figure::Nonsense })
        .collect();
    let [running, waiting, used, capacity, rest @ ..] = figures.as_slice() else { return None };
    let mut sceptic = Sceptic::default();
    let capacity = sceptic.size(*capacity);
    let used = sceptic.count(*used);
    let share = capacity.zip(used).map(|(capacity, used)| f64::from(used) / f64::from(capacity));
    let load = RankLoad {
        rank,
        running: sceptic.count(*running),
        waiting: sceptic.count(*waiting),
        queued_tokens: rest.get(1).and_then(|tokens| sceptic.count(*tokens)),
        kv_usage: sceptic.share(share.map_or(Figure::Absent, Figure::Number)),
        kv_capacity_tokens: capacity,
        ..RankLoad::default()
    };
    (load.running.is_some() || load.waiting.is_some()).then_some((load, sceptic.nonsense))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: &Value) -> Option<(RankLoad, bool)> {
        read_load(&rmp_serde::to_vec(value).unwrap(), 3)
    }

    #[test]
    fn load_is_read_with_what_later_versions_append() {
        let expected = RankLoad {
            rank: 3,
            running: Some(4),
            waiting: Some(2),
            queued_tokens: Some(70),
            kv_usage: Some(0.25),
            kv_capacity_tokens: Some(400),
            ..RankLoad::default()
        };
        let whole = json!(["LoadStat", 4, 2, 100, 400, 0, 70, 170, 48, 9, 9, "more", [1]]);
        assert_eq!(read(&whole), Some((expected.clone(), false)));
        let first = json!(["LoadStat", 4, 2, 100, 400, null]);
        assert_eq!(read(&first), Some((RankLoad { queued_tokens: None, ..expected }, false)));
        let unknown = read(&json!(["LoadStat", 4, 2, 100, 0])).unwrap().0;
        assert_eq!((unknown.kv_usage, unknown.kv_capacity_tokens), (None, None));
    }

    #[test]
    fn nonsense_is_unknown_and_told_and_anything_else_is_no_load() {
        let (load, nonsense) = read(&json!(["LoadStat", -4, 2, 1e300, 400, 0, "x"])).unwrap();
        assert!(nonsense);
        assert_eq!(
            (load.running, load.waiting, load.kv_usage, load.queued_tokens),
            (None, Some(2), None, None)
        );
        for other in [
            json!(["LoadStat"]),
            json!(["LoadStat", -1, -1, 1, 1]),
            json!(["Other", 1, 1, 1, 1]),
            json!([1, 1, 1, 1, 1]),
            json!({"a": 1}),
            json!(vec![1; 5000]),
        ] {
            assert_eq!(read(&other), None, "{other:.60}");
        }
        assert_eq!(read_load(b"\xdd\xff\xff\xff\xff", 0), None);
        assert_eq!(read_load(&[0x91; 100_000], 0), None);
    }
}
