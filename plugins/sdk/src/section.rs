//! The manifest's bytes, made while the plugin is compiled.
//!
//! A custom section has to be a constant, and traits do not work there, so this
//! is a second, smaller encoder beside [`sgl_policy_abi::Manifest::encode`]; a
//! test holds the two together.

use alloc::borrow::Cow;

use sgl_policy_abi::{ABI_VERSION, Concurrency, Input, Wire};

/// A manifest of constants; the wire form is columns.
#[derive(Clone, Copy, Debug)]
pub struct StaticManifest {
    /// The policy's own name.
    pub name: &'static str,
    /// The policy's version.
    pub version: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
    /// Declared inputs in wire order.
    pub inputs: &'static [Input],
    /// Whether decisions may run at the same time.
    pub concurrency: Concurrency,
}

/// A policy's manifest; implemented by [`export_policy!`](crate::export_policy).
pub trait Declares {
    /// What the plugin says about itself.
    const MANIFEST: StaticManifest;
}

impl StaticManifest {
    /// Bytes of the encoded manifest.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        // A dry run into nothing: only the position moves.
        self.encode_into(Output::<0>::new()).len
    }

    /// The encoded manifest. `N` is [`StaticManifest::encoded_len`].
    #[must_use]
    pub const fn encode<const N: usize>(&self) -> [u8; N] {
        self.encode_into(Output::<N>::new()).bytes
    }

    /// True if an input of that name is declared; for a prefix, if any with it is.
    #[must_use]
    pub const fn declares(&self, name: &str) -> bool {
        let mut rest = self.inputs;
        while let [input, tail @ ..] = rest {
            if same(input.static_name(), name) {
                return true;
            }
            rest = tail;
        }
        false
    }

    const fn encode_into<const N: usize>(&self, out: Output<N>) -> Output<N> {
        let mut out = out.byte(0x80 | 7).text("abi");
        const { assert!(ABI_VERSION < 0x80, "the version is written as one byte") };
        let [version, ..] = ABI_VERSION.to_le_bytes();
        out = out.byte(version);
        out = out.text("name").text(self.name);
        out = out.text("version").text(self.version);
        out = out.text("description").text(self.description);
        out = out.text("wire").text(Wire::Columns.word());
        out = out.text("inputs").header(0x90, 16, 0xdc, self.inputs.len());
        let mut rest = self.inputs;
        while let [input, tail @ ..] = rest {
            out = out.input(input);
            rest = tail;
        }
        out.text("concurrency").text(self.concurrency.word())
    }
}

/// Equality of texts; that of `str` is no constant function.
const fn same(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let ([one, rest @ ..], [other, others @ ..]) = (left, right) {
        if *one != *other {
            return false;
        }
        (left, right) = (rest, others);
    }
    left.is_empty() && right.is_empty()
}

/// `N` bytes that are filled from the left; beyond them only the length counts.
struct Output<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Output<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time, behind a check")]
    const fn byte(mut self, byte: u8) -> Self {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
        self
    }

    /// The header of a text or array: `fix | len` below `fix_limit`, else `marker` and 16 bits.
    const fn header(self, fix: u8, fix_limit: usize, marker: u8, len: usize) -> Self {
        assert!(len <= 0xffff, "a manifest entry has at most 65535 bytes or elements");
        let [low, high, ..] = len.to_le_bytes();
        if len < fix_limit { self.byte(fix | low) } else { self.byte(marker).byte(high).byte(low) }
    }

    const fn raw(mut self, text: &str) -> Self {
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            self = self.byte(*byte);
            rest = tail;
        }
        self
    }

    const fn text(self, text: &str) -> Self {
        self.header(0xa0, 32, 0xda, text.len()).raw(text)
    }

    #[expect(clippy::panic, reason = "evaluated at compile time: a build error")]
    const fn input(self, input: &Input) -> Self {
        match input {
            Input::Header(Cow::Borrowed(rest))
            | Input::ConfigHeader(Cow::Borrowed(rest))
            | Input::Field(Cow::Borrowed(rest))
            | Input::Query(Cow::Borrowed(rest)) => {
                let prefix = input.static_name();
                self.header(0xa0, 32, 0xda, prefix.len() + rest.len()).raw(prefix).raw(rest)
            }
            Input::Header(Cow::Owned(_))
            | Input::ConfigHeader(Cow::Owned(_))
            | Input::Field(Cow::Owned(_))
            | Input::Query(Cow::Owned(_)) => panic!("a constant name is borrowed"),
            Input::Healthy
            | Input::Excluded
            | Input::Column(_)
            | Input::PrefixMatch
            | Input::RequestText
            | Input::RequestTokens
            | Input::PromptBytes
            | Input::PromptTokens
            | Input::PromptTokensExact
            | Input::MaxTokens
            | Input::Stream
            | Input::Route
            | Input::Session
            | Input::ClientKey
            | Input::PrefixHashes
            | Input::ArrivalRate
            | Input::Model
            | Input::WaitedMs
            | Input::MayWaitMs
            | Input::Held
            | Input::Leg
            | Input::Random
            | Input::NowNs => self.text(input.static_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use sgl_policy_abi::Manifest;
    use std::string::ToString;

    const LONG: &str = "a description that is longer than 31 bytes, and than the 255 that one length byte could tell: \
        lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore \
        magna aliqua, ut enim ad minim veniam, quis nostrud exercitation";

    const EVERYTHING: StaticManifest = StaticManifest {
        name: "everything",
        version: "1.2.3",
        description: LONG,
        inputs: &[
            Input::Healthy,
            Input::Excluded,
            Input::Load,
            Input::Running,
            Input::Waiting,
            Input::QueuedTokens,
            Input::KvUsage,
            Input::Throughput,
            Input::LatencyEwma,
            Input::ReportAgeMs,
            Input::PrefillLoad,
            Input::PrefillTokens,
            Input::UncachedTokens,
            Input::TokensInFlight,
            Input::PendingCost,
            Input::OldestPendingMs,
            Input::TtftEwma,
            Input::TpotEwma,
            Input::LoadElsewhere,
            Input::PrefixMatch,
            Input::RequestText,
            Input::RequestTokens,
            Input::PromptBytes,
            Input::PromptTokens,
            Input::PromptTokensExact,
            Input::MaxTokens,
            Input::Stream,
            Input::Route,
            Input::Session,
            Input::ClientKey,
            Input::PrefixHashes,
            Input::ArrivalRate,
            Input::ConfigHeader(Cow::Borrowed("tenant_header")),
            Input::Field(Cow::Borrowed("/metadata/tenant")),
            Input::Query(Cow::Borrowed("tenant")),
            Input::Model,
            Input::Header(Cow::Borrowed("x-session-id")),
            Input::Header(Cow::Borrowed("x-a-header-with-a-name-beyond-32-bytes")),
            Input::WaitedMs,
            Input::MayWaitMs,
            Input::Held,
            Input::Leg,
            Input::Random,
            Input::NowNs,
        ],
        concurrency: Concurrency::Serial,
    };

    fn decoded(bytes: &[u8], of: &StaticManifest) {
        let expected = Manifest {
            abi: ABI_VERSION,
            name: of.name.to_string(),
            version: of.version.to_string(),
            description: of.description.to_string(),
            wire: Wire::Columns,
            inputs: Vec::from(of.inputs),
            concurrency: of.concurrency,
        };
        assert_eq!(Manifest::decode(bytes), Ok(expected));
    }

    #[test]
    fn constant_manifest_is_what_the_host_decodes() {
        const BYTES: [u8; EVERYTHING.encoded_len()] = EVERYTHING.encode();
        decoded(&BYTES, &EVERYTHING);
        assert!(Input::named().all(|input| EVERYTHING.inputs.contains(&input)), "each input is written");
        const EMPTY: StaticManifest = StaticManifest {
            name: "",
            version: "",
            description: "",
            inputs: &[],
            concurrency: Concurrency::Parallel,
        };
        const NONE: [u8; EMPTY.encoded_len()] = EMPTY.encode();
        decoded(&NONE, &EMPTY);
    }

    #[test]
    fn only_listed_inputs_are_declared() {
        const FEW: StaticManifest = StaticManifest { inputs: &[Input::Load, Input::Random], ..EVERYTHING };
        const { assert!(FEW.declares("load") && FEW.declares("random")) };
        for input in ["healthy", "loa", "loads", "", "header:x"] {
            assert!(!FEW.declares(input), "{input}");
        }
        assert!(EVERYTHING.inputs.iter().all(|input| EVERYTHING.declares(input.static_name())));
    }
}
