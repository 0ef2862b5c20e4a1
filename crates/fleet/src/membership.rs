//! Who is in a step of a rollout: each router works it out by itself, and all come to the same.

use sha2::{Digest, Sha256};

/// Where a router stands among a hundred, for one generation of one plugin of one fleet: 0 to 99. Other
/// generations begin with other routers.
pub fn place(fleet: &str, plugin: &str, generation: u64, router: &str) -> u8 {
    let (_, place) = rank(fleet, plugin, generation, router);
    place
}

fn rank(fleet: &str, plugin: &str, generation: u64, router: &str) -> (u64, u8) {
    // No name holds a line feed, so no two lists of names are one text.
    let digest = Sha256::digest(format!("{fleet}\n{plugin}\n{generation}\n{router}").as_bytes());
    let first = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // Below 100, so it fits.
    (first, u8::try_from(first % 100).unwrap_or(0))
}

/// True if a router is in a step of so many percent. One of those that live always is, however small the
/// step: the first by its place, and of two at one place by its hash.
pub fn is_in_step<'a>(
    (fleet, plugin, generation): (&str, &str, u64),
    percent: u8,
    router: &str,
    live: impl Iterator<Item = &'a str>,
) -> bool {
    if percent == 0 {
        return false;
    }
    let order = |router: &str| {
        let (hash, place) = rank(fleet, plugin, generation, router);
        (place, hash)
    };
    let own = order(router);
    own.0 < percent || live.filter(|other| *other != router).all(|other| own <= order(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: (&str, &str, u64) = ("fleet", "p", 7);

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("router-{number}")).collect()
    }

    fn members(names: &[String], of: (&str, &str, u64), percent: u8) -> usize {
        let live = || names.iter().map(String::as_str);
        live().filter(|name| is_in_step(of, percent, name, live())).count()
    }

    #[test]
    fn steps_grow_and_the_last_has_everybody_and_none_is_empty() {
        let names = names(200);
        let sizes: Vec<usize> = [0, 1, 10, 50, 100].map(|percent| members(&names, OF, percent)).into();
        assert!(sizes.is_sorted() && sizes[0] == 0 && sizes[4] == 200, "{sizes:?}");
        assert!((5..=40).contains(&sizes[2]), "{sizes:?}");
        for generation in 0..200 {
            for count in [1, 2, 3] {
                assert!(members(&names[..count], ("fleet", "p", generation), 1) >= 1);
            }
        }
    }

    #[test]
    fn whoever_is_in_a_step_is_in_the_next() {
        let names = names(50);
        let live = || names.iter().map(String::as_str);
        for name in live() {
            let within: Vec<bool> = (1..=100).map(|percent| is_in_step(OF, percent, name, live())).collect();
            assert!(within.is_sorted(), "{name}");
        }
    }

    #[test]
    fn other_generations_begin_with_others_and_places_never_change() {
        let firsts: std::collections::BTreeSet<String> = (0..20)
            .map(|generation| {
                names(10).into_iter().min_by_key(|name| place("fleet", "p", generation, name)).unwrap()
            })
            .collect();
        assert!(firsts.len() > 3, "{firsts:?}");
        // Routers of two versions must agree: these numbers are for ever.
        assert_eq!(["a", "b", "c"].map(|router| place("fleet", "p", 1, router)), [34, 7, 20]);
    }
}
