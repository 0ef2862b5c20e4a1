//! Names of workers that fit into a path: made of their URLs, so that they are the same after a restart and at
//! every router.

use sha2::{Digest, Sha256};

use crate::proxy::Backends;
use sgl_upstream::WorkerUrl;

/// Bytes of an id.
const ID_BYTES: usize = 16;

/// The id of the worker at this URL, in the form of a UUID of version 8 (RFC 9562, section 5.8).
pub(crate) fn id_of(url: &str) -> String {
    let digest = Sha256::digest(url.as_bytes());
    let mut bytes = [0; ID_BYTES];
    bytes.iter_mut().zip(digest.iter()).for_each(|(byte, from)| *byte = *from);
    let number = u128::from_be_bytes(bytes);
    let version = (number & !(0xf << 76) | (0x8 << 76)) & !(0x3 << 62) | (0x2 << 62);
    let text = format!("{version:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The URL of the worker that is named by its id; whatever else it is named by stays as it is.
pub(crate) fn url_of(backends: &Backends, name: &str) -> String {
    let is_id = name.len() == 36 && !name.contains(['/', '.']);
    let snapshot = is_id.then(|| backends.snapshot());
    let targets = snapshot.iter().flat_map(|snapshot| snapshot.targets());
    let mut urls = targets.map(|target| target.endpoint().url().to_string());
    urls.find(|url| id_of(url) == name).unwrap_or_else(|| name.to_owned())
}

/// The URL as the fleet knows it.
pub(crate) fn normal(url: &str) -> String {
    WorkerUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_a_uuid_that_follows_from_the_url() {
        let id = id_of("http://127.0.0.1:8001");
        assert_eq!(id, id_of("http://127.0.0.1:8001"));
        assert_ne!(id, id_of("http://127.0.0.1:8002"));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "8", "{id}");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
    }
}
