//! The text of a prompt, for policies that look at it.

use std::fmt::Write;

use crate::workload::requests::Workload;

/// Bytes of text for a token.
const TOKEN_BYTES: usize = 4;

const WORDS: [&str; 8] = ["river ", "stone ", "light ", "house ", "paper ", "green ", "music ", "water "];

/// Makes the text of prompts: equal as far as prompts are.
#[derive(Clone, Debug)]
pub struct PromptText {
    most: usize,
    /// Any text, as long as that of a unit.
    filler: String,
    text: String,
}

impl PromptText {
    /// Texts of which `most` bytes are made at most.
    pub fn new(workload: &Workload, most: usize) -> Self {
        let unit = workload.unit_tokens() as usize * TOKEN_BYTES;
        let filler = WORDS.iter().cycle().flat_map(|word| word.chars()).take(unit).collect();
        Self { most, filler, text: String::new() }
    }

    /// The text of a prompt, as far as it is made, and how many bytes it would have.
    pub fn of(&mut self, request: u32, workload: &Workload) -> (&str, usize) {
        let tokens = workload.request(request).map_or(0, |asked| asked.prompt_tokens);
        let whole = tokens as usize * TOKEN_BYTES;
        let length = whole.min(self.most);
        self.text.clear();
        for id in workload.units(request) {
            if self.text.len() >= length {
                break;
            }
            let begin = self.text.len();
            // So that other ids have another text from the first bytes on. A string takes what is written.
            let _ = write!(self.text, "{id:x} ");
            let rest = self.filler.get(self.text.len() - begin..).unwrap_or_default();
            self.text.push_str(rest);
        }
        self.text.truncate(length);
        (&self.text, whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_equal_as_far_as_prompts_are() {
        let mut workload = Workload::new(512);
        workload.push(0.0, 1200, 1, &[1, 2, 3]);
        workload.push(0.0, 1100, 1, &[1, 2, 4]);
        let mut texts = PromptText::new(&workload, 1 << 20);
        let (one, bytes) = texts.of(0, &workload);
        let one = one.to_owned();
        assert_eq!((one.len(), bytes), (4800, 4800));
        let (other, _) = texts.of(1, &workload);
        assert!(one[..4096] == other[..4096] && one[4096..4100] != other[4096..4100]);
        assert_eq!(PromptText::new(&workload, 100).of(0, &workload), (&one[..100], 4800));
    }
}
