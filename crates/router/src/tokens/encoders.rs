//! The threads that tokenize.
//!
//! They are the only ones that ever do: a tokenizer keeps caches for each thread (some 16 MiB to begin
//! with for a large vocabulary, up to about 100), and makes them on its first use there, which takes
//! some 40 ms. One thread of its own takes what is long, so that nothing ordinary waits behind it.

use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use crate::tokens::model_tokenizer::{ModelTokenizer, NotTokenized, TokenizedPrompt};
use crate::tokens::prompt_body::PromptForm;
use crate::tokens::tokenizer_set::TokenizerSet;

/// Larger bodies are long: what takes well below a millisecond is ordinary.
const LONG_BYTES: usize = 128 << 10;

/// Larger ones are not tokenized: pictures, for the most part.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Prompts that may wait for each thread.
const WAITING_PER_THREAD: usize = 16;

/// How long a request waits for its tokens at most, and how long for those of a large body.
const PATIENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

type TokenAnswer = Result<TokenizedPrompt, NotTokenized>;

enum EncoderTask {
    Tokenize {
        tokenizer: Arc<ModelTokenizer>,
        form: PromptForm,
        body: Bytes,
        answer: oneshot::Sender<TokenAnswer>,
    },
    /// Each thread takes one: it waits for the others.
    Warm(Arc<TokenizerSet>, Arc<Barrier>),
}

/// Threads with one queue.
#[derive(Debug)]
struct EncoderLane {
    /// `None` only while it is dropped.
    tasks: Option<Sender<EncoderTask>>,
    threads: Vec<JoinHandle<()>>,
}

impl EncoderLane {
    fn start(name: &str, count: usize) -> std::io::Result<Self> {
        let (tasks, taken) = bounded(count * WAITING_PER_THREAD);
        let start = |_| {
            let taken: Receiver<EncoderTask> = taken.clone();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || taken.iter().for_each(carry_out))
        };
        let threads = (0..count).map(start).collect::<Result<_, _>>()?;
        Ok(Self { tasks: Some(tasks), threads })
    }

    fn warm(&self, set: &Arc<TokenizerSet>) {
        let together = Arc::new(Barrier::new(self.threads.len()));
        for _ in &self.threads {
            let task = EncoderTask::Warm(Arc::clone(set), Arc::clone(&together));
            // Nobody takes it only while the threads end.
            let _ = self.tasks.as_ref().map(|tasks| tasks.send(task));
        }
    }

    async fn tokenize(
        &self,
        tokenizer: Arc<ModelTokenizer>,
        form: PromptForm,
        body: Bytes,
        patience: Duration,
    ) -> TokenAnswer {
        let (answer, answered) = oneshot::channel();
        let task = EncoderTask::Tokenize { tokenizer, form, body, answer };
        let tasks = self.tasks.as_ref().ok_or(NotTokenized::Busy)?;
        tasks.try_send(task).map_err(|_| NotTokenized::Busy)?;
        let answered = tokio::time::timeout(patience, answered).await;
        // Without an answer its thread is gone.
        answered.map_err(|_| NotTokenized::Late)?.unwrap_or(Err(NotTokenized::Tokenizer))
    }
}

impl Drop for EncoderLane {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // It catches the panics of tokenizers.
            let _ = thread.join();
        }
    }
}

fn carry_out(task: EncoderTask) {
    match task {
        // Whoever asked may have gone on without.
        EncoderTask::Tokenize { answer, .. } if answer.is_closed() => {}
        EncoderTask::Tokenize { tokenizer, form, body, answer } => {
            drop(answer.send(tokenizer.tokenize(form, &body)))
        }
        EncoderTask::Warm(set, together) => {
            set.iter().for_each(|(_, tokenizer)| tokenizer.warm());
            together.wait();
        }
    }
}

/// All threads that tokenize. Dropping it ends them, after what they are at.
#[derive(Debug)]
pub(crate) struct Encoders {
    ordinary: EncoderLane,
    long: EncoderLane,
}

impl Encoders {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// If the system has no threads left.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        keep_to_calling_threads();
        Ok(Self {
            ordinary: EncoderLane::start("tokenizer", threads)?,
            long: EncoderLane::start("tokenizer-long", 1)?,
        })
    }

    /// Has every thread make what it needs for these tokenizers.
    pub(crate) fn warm(&self, set: &Arc<TokenizerSet>) {
        self.ordinary.warm(set);
        self.long.warm(set);
    }

    /// Tokenizes the prompt in a body.
    ///
    /// # Errors
    ///
    /// [`NotTokenized`].
    ///
    /// # Cancel safety
    ///
    /// What has not begun is dropped.
    pub(crate) async fn tokenize(
        &self,
        tokenizer: &Arc<ModelTokenizer>,
        form: PromptForm,
        body: &Bytes,
    ) -> TokenAnswer {
        let [patience, of_long] = PATIENCE;
        let (tokenizer, body) = (Arc::clone(tokenizer), body.clone());
        if body.len() <= LONG_BYTES {
            self.ordinary.tokenize(tokenizer, form, body, patience).await
        } else if body.len() <= MAX_BODY_BYTES {
            self.long.tokenize(tokenizer, form, body, of_long).await
        } else {
            Err(NotTokenized::TooLong)
        }
    }
}

/// fastokens spreads a text of 64 KiB and more over threads of its own, one for each processor, and keeps
/// caches in all of them. How many there are it finds out once, from the processors that the thread
/// may run on which asks first. If that is one, there are none.
#[cfg(target_os = "linux")]
fn keep_to_calling_threads() {
    let asking = std::thread::spawn(|| {
        let mut own = rustix::thread::CpuSet::new();
        let allowed = rustix::thread::sched_getaffinity(None);
        let one = allowed
            .ok()
            .and_then(|allowed| (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)));
        own.set(one.unwrap_or_default());
        if rustix::thread::sched_setaffinity(None, &own).is_ok() {
            let _ = fastokens::fanout::threads();
        }
    });
    let _ = asking.join();
}

#[cfg(not(target_os = "linux"))]
fn keep_to_calling_threads() {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::config::TokenizerEntry;

    fn set() -> Arc<TokenizerSet> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer").into();
        let entry = TokenizerEntry { model: "*".to_owned(), path, chat_template: None };
        Arc::new(TokenizerSet::load(&[entry], 0, &TokenizerSet::default()).unwrap())
    }

    fn body(length: usize) -> Bytes {
        Bytes::from(format!("{{\"text\": \"{}\"}}", "word ".repeat(length / 5)))
    }

    /// Lets a thread go on when it is dropped, also by a test that fails.
    struct HeldThread(Arc<Barrier>);

    impl Drop for HeldThread {
        fn drop(&mut self) {
            self.0.wait();
        }
    }

    /// Encoders of one thread each, and what holds the ordinary one up.
    fn held_up() -> (Encoders, Arc<ModelTokenizer>, HeldThread) {
        let (encoders, set) = (Encoders::start(1).unwrap(), set());
        let tokenizer = Arc::clone(set.find(None).unwrap());
        let barrier = Arc::new(Barrier::new(2));
        let tasks = encoders.ordinary.tasks.as_ref().unwrap();
        tasks.send(EncoderTask::Warm(set, Arc::clone(&barrier))).unwrap();
        while !tasks.is_empty() {
            std::thread::yield_now();
        }
        (encoders, tokenizer, HeldThread(barrier))
    }

    #[tokio::test]
    async fn long_text_has_a_thread_of_its_own() {
        let (encoders, tokenizer, held) = held_up();
        let form = PromptForm::Text;
        for _ in 0..WAITING_PER_THREAD {
            // Nobody waits for it.
            let _ = encoders.tokenize(&tokenizer, form, &body(5)).now_or_never();
        }
        assert_eq!(encoders.tokenize(&tokenizer, form, &body(5)).await, Err(NotTokenized::Busy));
        let long = body(LONG_BYTES + 1);
        assert_ne!(encoders.tokenize(&tokenizer, form, &long).await, Err(NotTokenized::Busy));
        let answer = encoders.long.tokenize(Arc::clone(&tokenizer), form, long, Duration::MAX).await;
        assert!(answer.unwrap().ids.len() > 1000);
        let huge = encoders.tokenize(&tokenizer, form, &body(MAX_BODY_BYTES + 1)).await;
        assert_eq!(huge, Err(NotTokenized::TooLong));
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_for_its_tokens_but_not_for_long_nor_behind_many() {
        let (encoders, tokenizer, held) = held_up();
        let before = tokio::time::Instant::now();
        let body = body(100);
        let ask = || encoders.tokenize(&tokenizer, PromptForm::Text, &body);
        assert_eq!(ask().await, Err(NotTokenized::Late));
        assert_eq!(before.elapsed(), PATIENCE[0]);
        // What nobody waits for any more stands in the queue until its thread drops it.
        let asked = std::iter::repeat_with(ask).take(2 * WAITING_PER_THREAD);
        let answers = futures_util::future::join_all(asked).await;
        let count = |reason| answers.iter().filter(|answer| **answer == Err(reason)).count();
        assert_eq!(count(NotTokenized::Late), WAITING_PER_THREAD - 1);
        assert_eq!(count(NotTokenized::Busy), WAITING_PER_THREAD + 1);
        drop(held);
    }

    #[test]
    fn dropping_them_ends_their_threads_and_fastokens_has_none() {
        let (encoders, tokenizer, held) = held_up();
        drop(held);
        let text = "word ".repeat(1 << 20);
        assert_eq!(
            tokenizer.tokenize(PromptForm::Text, format!("{{\"text\": \"{text}\"}}").as_bytes()),
            Err(NotTokenized::TooLong)
        );
        drop(encoders);
        #[cfg(target_os = "linux")]
        assert_eq!(fastokens::fanout::threads(), 1);
    }
}
