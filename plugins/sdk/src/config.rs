//! Typed reading of the operator's configuration, with errors that name the key, what it has and what it
//! may have.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use sgl_policy_abi::{Init, Value};

use crate::error::Error;
use crate::shown::{push_number, push_value};

/// A view of [`Init::config`].
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    init: &'a Init,
}

impl<'a> Config<'a> {
    /// Reads the configuration of `init` and refuses keys that are not in `known`,
    /// so that a misspelt key does not silently mean its default.
    ///
    /// # Errors
    /// An [`Error`] that names all unknown keys, and those that are known, the nearest first.
    pub fn new(init: &'a Init, known: &[&str]) -> Result<Self, Error> {
        let keys = init.config.iter().map(|(key, _)| key.as_str());
        let unknown: Vec<&str> = keys.filter(|key| !known.contains(key)).collect();
        if unknown.is_empty() {
            return Ok(Self { init });
        }
        let mut text = String::from("unknown config key");
        text.push_str(if unknown.len() > 1 { "s " } else { " " });
        push_words(&mut text, &unknown);
        text.push_str(if known.is_empty() { "; there are none" } else { "; known: " });
        let distance = |name: &&str| unknown.iter().map(|key| distance(key, name)).min();
        let nearest = known.iter().copied().min_by_key(distance);
        let others = known.iter().copied().filter(|name| Some(*name) != nearest);
        let listed: Vec<&str> = nearest.into_iter().chain(others).collect();
        push_words(&mut text, &listed);
        Err(text.into())
    }

    /// The value of `key`, unless it is missing or nil.
    #[must_use]
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.init.config(key).filter(|value| **value != Value::Nil)
    }

    /// A number of at least `min`, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is no number, NaN, infinite or below `min`.
    pub fn number(self, key: &str, default: f64, min: f64) -> Result<f64, Error> {
        self.number_in(key, default, min..=f64::INFINITY)
    }

    /// A finite number within this range, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn number_in(self, key: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if number.is_finite() && range.contains(&number) => Ok(number),
            _ => Err(refused(key, value, |text| {
                text.push_str("a number ");
                push_range(text, &range);
            })),
        }
    }

    /// A whole number that is not negative, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn size(self, key: &str, default: usize) -> Result<usize, Error> {
        self.size_in(key, default, 0..=usize::MAX)
    }

    /// A whole number within this range, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn size_in(self, key: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| range.contains(size)).ok_or_else(|| {
            refused(key, value, |text| {
                text.push_str("a whole number ");
                #[expect(clippy::cast_precision_loss, reason = "bounds in a message")]
                let bound = |bound: usize| if bound == usize::MAX { f64::INFINITY } else { bound as f64 };
                push_range(text, &(bound(*range.start())..=bound(*range.end())));
            })
        })
    }

    /// True or false, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn flag(self, key: &str, default: bool) -> Result<bool, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| refused(key, value, |text| text.push_str("true or false")))
    }

    /// A text, or `default`.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn text(self, key: &str, default: &'a str) -> Result<&'a str, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| refused(key, value, |text| text.push_str("a text")))
    }

    /// Which of these words the value is; the first is the default.
    ///
    /// # Errors
    /// An [`Error`] that names the key if the value is anything else.
    pub fn one_of(self, key: &str, words: &[&str]) -> Result<usize, Error> {
        let Some(value) = self.get(key) else { return Ok(0) };
        let known = value.as_str().and_then(|word| words.iter().position(|known| *known == word));
        known.ok_or_else(|| refused(key, value, |text| push_words(text, words)))
    }
}

/// How many letters make one word into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in (1..).zip(one.bytes()) {
        let (mut left, mut above_left) = (at, at - 1);
        for (above, own) in row.iter_mut().skip(1).zip(other.bytes()) {
            let swapped = above_left + usize::from(letter != own);
            above_left = *above;
            left = swapped.min(left + 1).min(above_left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn push_words(text: &mut String, words: &[&str]) {
    for (index, word) in words.iter().enumerate() {
        text.push_str(if index == 0 { "`" } else { ", `" });
        text.push_str(word);
        text.push('`');
    }
}

/// The error of a value that is not what its key may have.
fn refused(key: &str, value: &Value, expected: impl FnOnce(&mut String)) -> Error {
    let mut text = String::from("config key `");
    text.push_str(key);
    text.push_str("` is ");
    push_value(&mut text, value);
    text.push_str("; expected ");
    expected(&mut text);
    text.into()
}

fn push_range(text: &mut String, range: &RangeInclusive<f64>) {
    text.push_str(if range.end().is_finite() { "from " } else { "of at least " });
    push_number(text, *range.start());
    if range.end().is_finite() {
        text.push_str(" to ");
        push_number(text, *range.end());
    }
}
