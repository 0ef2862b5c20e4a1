//! The names under which a worker serves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use sgl_policy_abi::{MAX_MODEL_NAME_BYTES, MAX_MODEL_NAMES};

/// Names of models, adapters (LoRA) among them: one at least, [`MAX_MODEL_NAMES`] at most, none of them
/// empty or of more than [`MAX_MODEL_NAME_BYTES`] bytes. A copy costs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ModelNames(Arc<[String]>);

impl ModelNames {
    /// These names without those that are empty, too long or there already, and without those beyond the
    /// first [`MAX_MODEL_NAMES`]; `None` if nothing is left.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut kept: Vec<String> = Vec::new();
        for name in names {
            if kept.len() == MAX_MODEL_NAMES {
                break;
            }
            let is_known = kept.iter().any(|known| known == name);
            if !is_known && !name.is_empty() && name.len() <= MAX_MODEL_NAME_BYTES {
                kept.push(name.to_owned());
            }
        }
        (!kept.is_empty()).then(|| Self(kept.into()))
    }

    /// The names.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl From<ModelNames> for Vec<String> {
    fn from(names: ModelNames) -> Self {
        names.0.to_vec()
    }
}

impl TryFrom<Vec<String>> for ModelNames {
    type Error = &'static str;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(names.iter().map(String::as_str)).ok_or("no name; leave the list out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_count_and_length() {
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        let fits = &long[1..];
        let names = ModelNames::new(["", "m", &long, "sql", "m", fits]).unwrap();
        assert_eq!(names.as_slice(), ["m", "sql", fits]);
        let many: Vec<String> = (0..MAX_MODEL_NAMES + 1).map(|number| format!("a{number}")).collect();
        let names = ModelNames::new(many.iter().map(String::as_str)).unwrap();
        assert_eq!(names.as_slice(), &many[..MAX_MODEL_NAMES]);
        assert_eq!(ModelNames::new(["", &long]), None);
    }

    #[test]
    fn names_are_a_list_in_json_and_never_an_empty_one() {
        let names: ModelNames = serde_json::from_str(r#"["m", "", "sql"]"#).unwrap();
        assert_eq!(serde_json::to_string(&names).unwrap(), r#"["m","sql"]"#);
        assert!(serde_json::from_str::<ModelNames>("[]").is_err());
    }
}
