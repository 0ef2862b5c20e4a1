//! Where an engine is measured: requests within limits, and a look at who else is there.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::cli::calibrate::error::CalibrateError;
use crate::cli::calibrate::fresh_prompts::FreshPrompts;
use crate::proxy::engines::engine_look::{EngineLook, EngineWatcher};
use sgl_tools::load::{ErrorKind, ProbeAnswer, ProbeError, ProbeQuestion, Prober};

/// How long an engine may report requests that have ended.
const LAG: Duration = Duration::from_secs(3);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(250);
/// Looks before anything is sent.
const LOOKS: usize = 4;

/// An engine that is measured.
#[derive(Debug)]
pub(crate) struct Bench {
    prober: Arc<Prober>,
    watcher: EngineWatcher,
    texts: FreshPrompts,
    end: Instant,
    requests_left: u32,
    force: bool,
}

/// What was asked with an answer, whose prompt has so many tokens.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    pub(crate) tokens: u32,
    pub(crate) answer: ProbeAnswer,
}

impl Bench {
    /// With so much time and so many requests.
    pub(crate) fn new(
        prober: Prober,
        watcher: EngineWatcher,
        limit: Duration,
        requests: u32,
        force: bool,
    ) -> Self {
        Self {
            prober: Arc::new(prober),
            watcher,
            texts: FreshPrompts::new(),
            end: Instant::now() + limit,
            requests_left: requests,
            force,
        }
    }

    /// Makes sure that nobody uses the engine, and tells what it says.
    ///
    /// # Errors
    ///
    /// [`CalibrateError::Busy`].
    pub(crate) async fn begin(&self) -> Result<EngineLook, CalibrateError> {
        let mut look = self.watcher.look().await;
        for _ in 1..LOOKS {
            self.refuse(&look)?;
            tokio::time::sleep(PAUSE).await;
            look = self.watcher.look().await;
        }
        self.refuse(&look)?;
        Ok(look)
    }

    /// Makes sure that nobody else used the engine: all of its requests have ended.
    ///
    /// # Errors
    ///
    /// [`CalibrateError::Busy`].
    pub(crate) async fn rest(&self) -> Result<(), CalibrateError> {
        let until = Instant::now() + LAG;
        loop {
            let look = self.watcher.look().await;
            if self.force || !look.is_busy() {
                return Ok(());
            }
            if Instant::now() >= until {
                return self.refuse(&look);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn refuse(&self, look: &EngineLook) -> Result<(), CalibrateError> {
        match look.busy {
            Some((running, waiting)) if running + waiting > 0 && !self.force => {
                Err(CalibrateError::Busy { running, waiting })
            }
            _ => Ok(()),
        }
    }

    /// True if so many more requests may be sent now.
    pub(crate) fn may_ask(&self, requests: u32) -> bool {
        self.requests_left >= requests && Instant::now() < self.end
    }

    /// A new prompt of about so many tokens.
    pub(crate) fn text(&mut self, tokens: u32) -> String {
        self.texts.of(tokens)
    }

    /// Asks with a prompt of about so many tokens for an answer of so many.
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    pub(crate) async fn ask(&mut self, prompt_tokens: u32, tokens: u32) -> Result<Probed, ProbeError> {
        let text = self.text(prompt_tokens);
        self.ask_text(text, tokens).await
    }

    /// Asks with this prompt.
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    pub(crate) async fn ask_text(&mut self, text: String, tokens: u32) -> Result<Probed, ProbeError> {
        self.requests_left = self.requests_left.saturating_sub(1);
        let guess = self.texts.tokens_of(&text);
        let answer = self.prober.ask(ProbeQuestion { text, tokens }).await?;
        Ok(Probed { tokens: answer.prompt_tokens.unwrap_or(guess), answer })
    }

    /// Asks for all of these at once, each after a pause; prompt tokens and tokens of the answer of each.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] of the first that failed.
    pub(crate) async fn ask_all(
        &mut self,
        questions: &[(Duration, u32, u32)],
    ) -> Result<Vec<Probed>, ProbeError> {
        let mut requests = JoinSet::new();
        for (place, (pause, prompt_tokens, tokens)) in questions.iter().copied().enumerate() {
            self.requests_left = self.requests_left.saturating_sub(1);
            let text = self.text(prompt_tokens);
            let (prober, guess) = (Arc::clone(&self.prober), self.texts.tokens_of(&text));
            requests.spawn(async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let answer = prober.ask(ProbeQuestion { text, tokens }).await?;
                let tokens = answer.prompt_tokens.unwrap_or(guess);
                Ok::<_, ProbeError>((place, Probed { tokens, answer }))
            });
        }
        let mut answers = Vec::new();
        while let Some(ended) = requests.join_next().await {
            let lost = ProbeError { kind: ErrorKind::Unfinished, said: None };
            answers.push(ended.map_err(|_| lost)??);
        }
        answers.sort_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, probed)| probed).collect())
    }

    /// Compiles what the engine compiles at first, learns how long tokens are, and finds the longest prompt
    /// up to `most` that it takes.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if it does not take short ones either.
    pub(crate) async fn warm_up(&mut self, most: u32) -> Result<u32, ProbeError> {
        let (short, long) = (self.text(32), self.text(128));
        let one = self.ask_text(short.clone(), 8).await?;
        let other = self.ask_text(long.clone(), 8).await?;
        self.texts.learn((&short, one.tokens), (&long, other.tokens));
        let mut longest = most;
        loop {
            let text = self.text(longest);
            match self.ask_text(text.clone(), 1).await {
                Ok(probed) => {
                    // From more tokens than before.
                    self.texts.learn((&short, one.tokens), (&text, probed.tokens));
                    return Ok(longest.min(probed.tokens));
                }
                Err(error) if matches!(error.kind, ErrorKind::Status(400..500)) && longest > 128 => {
                    longest /= 2
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A line for who waits.
pub(crate) fn say(line: &str) {
    // A run goes on without its progress if that cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
