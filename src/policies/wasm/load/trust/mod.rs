//! Who vouches for a module: Ed25519 signatures, keys, and the rules about both.
//!
//! ```text
//!  module bytes ─► envelope (section, covered bytes) ─► claims ─┐
//!  MODULE.sig   ─► format ─────────────────────────────► claims ─┼─► verification ─► rules
//!  [[trust]]    ─► keyring ────────────────────────────► keys   ─┘
//! ```
//!
//! # What is signed
//!
//! The format is that of the [WebAssembly module signatures tool convention](https://github.com/wasm-signatures/design),
//! version 1, so `wasmsign2` verifies what is signed here and the other way round. The crate
//! `wasmsign2` itself is not used: it calls itself a proof of concept, verifies signatures without
//! the strict checks, takes modules of which only a part is signed, and brings a second Ed25519, a
//! second SHA-256 and a parser of its own. Read here is the subset that vouches for a *whole* module:
//!
//! - A signature is Ed25519 over `"wasmsig"`, the bytes 1, 1, 1 (version, module, SHA-256) and one
//!   SHA-256 hash. The prefix keeps it apart from signatures of anything else.
//! - **Embedded**: the signatures are in a custom section `signature`, the first of the module. The
//!   hash is over every byte after that section. Before it are the eight bytes of the header, which
//!   must have their one value, and the section itself, which no engine looks into. A second section of
//!   that name, or one in another place, is refused.
//! - **Detached**: the same bytes without the section around them, in a file `MODULE.sig`. The hash is
//!   over every byte after the header, so it is over the whole file.
//! - Both say "the module with these sections"; one may be turned into the other without the key.
//! - Sets of several hashes (a module signed in parts) and other algorithms are passed over. Every
//!   length must be written in its one shortest form, and nothing may follow.
//! - Verification is strict (`verify_strict`: canonical, no keys of small order).
//!
//! A build without the feature `signatures` reads no key (`no_key.rs` is in the place of `key.rs`): a
//! rule that requires signatures refuses every module, and no module counts as verified.

pub(crate) mod fault;
#[cfg(feature = "signatures")]
pub(crate) mod key;
#[cfg(not(feature = "signatures"))]
#[path = "no_key.rs"]
pub(crate) mod key;
mod format;
mod envelope;
pub mod signing;
mod keyring;
pub(crate) mod origin;
mod verification;
pub(crate) mod rules;

pub use crate::policies::wasm::load::trust::fault::{KeyFault, Refusal, TrustFault};
pub use crate::policies::wasm::load::trust::key::{PublicKey, SecretKey};
pub use crate::policies::wasm::load::trust::origin::{read_signature, signature_file};
pub use crate::policies::wasm::load::trust::rules::Vouched;
