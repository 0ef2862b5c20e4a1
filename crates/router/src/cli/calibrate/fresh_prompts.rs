//! Prompts that no cache knows, of about so many tokens.

/// Bytes of a token where an engine does not tell.
const BYTES_PER_TOKEN: f64 = 4.0;

const WORDS: [&str; 16] = [
    "river ", "stone ", "light ", "house ", "paper ", "green ", "music ", "water ", "seven ", "north ",
    "table ", "quiet ", "bread ", "cloud ", "horse ", "train ",
];

/// Makes prompts up.
#[derive(Debug)]
pub(crate) struct FreshPrompts {
    random: fastrand::Rng,
    bytes_per_token: f64,
    /// Tokens that come on top, of the chat's form.
    more: f64,
}

impl FreshPrompts {
    /// With words by chance, each time others.
    pub(crate) fn new() -> Self {
        Self { random: fastrand::Rng::new(), bytes_per_token: BYTES_PER_TOKEN, more: 0.0 }
    }

    /// A prompt of about so many tokens that begins as no other does.
    pub(crate) fn of(&mut self, tokens: u32) -> String {
        let bytes = ((f64::from(tokens) - self.more) * self.bytes_per_token).max(16.0);
        let mut text = format!("{:016x} ", self.random.u64(..));
        while f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) < bytes {
            text.push_str(self.random.choice(WORDS).unwrap_or("word "));
        }
        text
    }

    /// How many tokens a text has where the engine does not tell.
    pub(crate) fn tokens_of(&self, text: &str) -> u32 {
        u32::try_from(text.len() / 4).unwrap_or(u32::MAX)
    }

    /// Learns from two texts of different length and the tokens that an engine says they have.
    pub(crate) fn learn(&mut self, short: (&str, u32), long: (&str, u32)) {
        let bytes = |text: &str| f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
        let (bytes, tokens) = (bytes(long.0) - bytes(short.0), f64::from(long.1) - f64::from(short.1));
        if bytes > 0.0 && tokens > 0.0 {
            self.bytes_per_token = bytes / tokens;
            self.more = (f64::from(long.1) - self.tokens_in(long.0)).max(0.0);
        }
    }

    fn tokens_in(&self, text: &str) -> f64 {
        f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) / self.bytes_per_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_the_tokens_that_are_wanted_as_the_engine_counts_them() {
        let mut texts = FreshPrompts::new();
        assert!((400..410).contains(&texts.of(100).len()));
        // Two bytes each, and twenty more.
        let count = |text: &str| u32::try_from(text.len()).unwrap() / 2 + 20;
        let (short, long) = (texts.of(50), texts.of(500));
        texts.learn((&short, count(&short)), (&long, count(&long)));
        for wanted in [60, 300, 3000] {
            let found = count(&texts.of(wanted));
            assert!(found.abs_diff(wanted) <= 5, "{found} {wanted}");
        }
        assert_ne!(texts.of(50)[..17], texts.of(50)[..17]);
    }
}
