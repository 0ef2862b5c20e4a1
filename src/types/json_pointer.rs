//! A JSON pointer (RFC 6901): where a value is in a JSON document.

use sgl_policy_abi::Input;

/// A pointer that names something inside of a document: `/sampling_params/n`, `/messages/0/role`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonPointer {
    text: Box<str>,
    steps: Box<[Box<str>]>,
}

impl JsonPointer {
    /// Longest pointer, in bytes.
    pub const MAX_BYTES: usize = Input::MAX_NAME_BYTES;

    /// The pointer of that text; `None` if it is none, is that of the whole document, or is too long or
    /// too deep.
    pub fn parse(text: &str) -> Option<Self> {
        if !Input::is_pointer(text) {
            return None;
        }
        let steps = text.split('/').skip(1);
        let steps = steps.map(|step| step.replace("~1", "/").replace("~0", "~").into_boxed_str());
        Some(Self { steps: steps.collect(), text: text.into() })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The keys and indexes that lead to the value, from the outermost on; at least one.
    pub fn steps(&self) -> &[Box<str>] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_keys_as_they_are_in_the_document() {
        let steps = |text: &str| JsonPointer::parse(text).map(|pointer| pointer.steps().join("|"));
        assert_eq!(steps("/a/0/b c").as_deref(), Some("a|0|b c"));
        assert_eq!(steps("/~01~1/").as_deref(), Some("~1/|"));
        for none in ["", "a", "/~", "/a~2", "/a\n"] {
            assert_eq!(steps(none), None, "{none:?}");
        }
        assert!(steps(&"/a".repeat(16)).is_some() && steps(&"/a".repeat(17)).is_none());
        let long = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert!(
            steps(&long(JsonPointer::MAX_BYTES)).is_some()
                && steps(&long(JsonPointer::MAX_BYTES + 1)).is_none()
        );
    }
}
