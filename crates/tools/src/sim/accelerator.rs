//! The simulated accelerator: admission, prefill and prefix cache of one worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::sim::batch::Batch;
use crate::sim::cache::PromptCache;
use crate::sim::config::SimConfig;
use crate::sim::control::Control;
use crate::sim::counters::{Changes, Counters, Flight};
use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::generation::{Finish, Format, GenerationPlan, GenerationRequest};
use crate::sim::kv_feed::KvFeed;
use crate::sim::run::Run;
use crate::sim::seed::RequestSeed;
use crate::sim::throughput::Throughput;
use crate::sim::time_model::TimeModel;
use sglang_router_rs::core::WorkerRole;

/// One worker without its HTTP side.
///
/// # Concurrency
/// `prefill_lane` is held across the time of a prefill: that is its purpose.
#[derive(Debug)]
pub(crate) struct Accelerator {
    config: SimConfig,
    fail_status: StatusCode,
    model: TimeModel,
    batch: Arc<Batch>,
    counters: Arc<Counters>,
    control: Arc<Control>,
    cache: PromptCache,
    /// Prefills run one at a time, in order of arrival.
    prefill_lane: tokio::sync::Mutex<()>,
    throughput: Throughput,
}

/// How busy a worker is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Occupancy {
    /// Requests in the batch.
    pub(crate) running: usize,
    /// Requests in the queue.
    pub(crate) waiting: usize,
    /// Prompt and output tokens of the running requests.
    pub(crate) running_tokens: u64,
    /// Prompt tokens of the waiting requests.
    pub(crate) waiting_tokens: u64,
    /// Output tokens per second, averaged since the last reading that is at least a second old.
    pub(crate) tokens_per_second: f64,
}

impl Accelerator {
    /// An idle worker of one rank. `config` has been checked.
    #[cfg(test)]
    pub(crate) fn new(config: SimConfig) -> Self {
        let control = Arc::new(Control::new(config.fail_rate));
        Self::of_rank(config, 0, Arc::default(), control, None)
    }

    /// One idle rank of a worker; its ranks share what may be changed, and who waits for changes.
    pub(crate) fn of_rank(
        config: SimConfig,
        rank: u64,
        changes: Arc<Changes>,
        control: Arc<Control>,
        feed: Option<Arc<KvFeed>>,
    ) -> Self {
        // Ranks of one worker answer differently; the first as a worker without ranks.
        let config = SimConfig { seed: config.seed ^ (rank << 32), ..config };
        // llama.cpp has no bound.
        let queue = if config.engine == Some(Dialect::LlamaCpp) { usize::MAX } else { config.max_queued };
        let whole_blocks = matches!(config.engine, Some(Dialect::Sglang | Dialect::Vllm));
        Self {
            fail_status: StatusCode::from_u16(config.fail_status)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            model: TimeModel::new(&config),
            batch: Arc::new(Batch::new(config.max_running, queue, Arc::clone(&changes))),
            counters: Arc::new(Counters::new(changes)),
            control,
            cache: PromptCache::new(config.cache_blocks(), config.block_tokens, whole_blocks, feed),
            prefill_lane: tokio::sync::Mutex::new(()),
            throughput: Throughput::new(),
            config,
        }
    }

    pub(crate) fn config(&self) -> &SimConfig {
        &self.config
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    #[cfg(test)]
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Brings a request through queue and prefill, up to its first token.
    ///
    /// # Errors
    /// A full queue, or a failure that was asked for.
    ///
    /// # Cancel safety
    /// Safe: dropped at any point, the request leaves queue, batch and prefill lane at once and
    /// counts as cancelled. What it prefilled is cached only if the prefill was done.
    pub(crate) async fn begin(&self, ask: &GenerationRequest) -> Result<Run, ApiError> {
        let flight = Flight::open(Arc::clone(&self.counters));
        let seed = RequestSeed::new(self.config.seed, flight.number());
        let delay = self.control.extra_delay();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if seed.fails(self.control.fail_rate()) {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            flight.settle();
            return Err(ApiError::injected(self.fail_status));
        }
        let prompt_tokens = ask.prompt_tokens();
        let Ok(place) = self.batch.admit(u64::from(prompt_tokens)).await else {
            self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            flight.settle();
            return Err(ApiError::overloaded());
        };
        let began = Instant::now();
        let cached_tokens = self.prefill(ask, prompt_tokens, seed).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.prefill_busy_us.fetch_add(took, Ordering::Relaxed);
        let (output_tokens, finish) = self.output_length(ask, seed);
        let generation = GenerationPlan {
            number: flight.number(),
            seed,
            prompt_tokens,
            cached_tokens,
            output_tokens,
            choices: ask.choices(),
            finish,
        };
        let (batch, counters) = (Arc::clone(&self.batch), Arc::clone(&self.counters));
        Ok(Run::new(generation, self.model, batch, counters, place, flight))
    }

    /// Takes the time of a prefill; returns how many prompt tokens were cached before.
    async fn prefill(&self, ask: &GenerationRequest, prompt_tokens: u32, seed: RequestSeed) -> u32 {
        // A decode worker gets its KV cache from elsewhere.
        let takes_time = !self.model.is_instant() && self.config.role != WorkerRole::Decode;
        let lane = if takes_time { Some(self.prefill_lane.lock().await) } else { None };
        // In the lane, so that prompts prefilled just before are cached by now.
        let cached = self.cache.cached_tokens(&ask.prompts, prompt_tokens);
        if lane.is_some() {
            sleep(self.model.prefill(prompt_tokens - cached, seed.jitter(0))).await;
        }
        self.cache.remember(&ask.prompts);
        drop(lane);
        self.counters.prompt_tokens.fetch_add(u64::from(prompt_tokens), Ordering::Relaxed);
        self.counters.cached_tokens.fetch_add(u64::from(cached), Ordering::Relaxed);
        cached
    }

    fn output_length(&self, ask: &GenerationRequest, seed: RequestSeed) -> (u32, Finish) {
        if ask.format == Format::Embeddings {
            return (0, Finish::Stop);
        }
        if self.config.role == WorkerRole::Prefill {
            return (1, Finish::Length);
        }
        match ask.max_tokens {
            Some(tokens) => (tokens, Finish::Length),
            None => (seed.natural_length(self.config.default_tokens), Finish::Stop),
        }
    }

    /// Forgets all cached prefixes.
    pub(crate) fn flush_cache(&self) {
        self.cache.clear();
    }

    /// Makes one token, unless requests run and prove already that tokens are made.
    ///
    /// # Cancel safety
    /// Safe: it holds nothing.
    pub(crate) async fn probe(&self) {
        if self.batch.running() == 0 && !self.model.is_instant() {
            sleep(self.model.decode_step(1, 0.5)).await;
        }
    }

    /// Whether nothing takes time.
    pub(crate) fn is_instant(&self) -> bool {
        self.model.is_instant()
    }

    /// Whether a request would find the queue full.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.running() >= self.config.max_running && self.batch.waiting() >= self.config.max_queued
    }

    pub(crate) fn load(&self) -> Occupancy {
        Occupancy {
            running: self.batch.running(),
            waiting: self.batch.waiting(),
            running_tokens: self.batch.running_tokens(),
            waiting_tokens: self.batch.waiting_tokens(),
            tokens_per_second: self
                .throughput
                .per_second(self.counters.generated_tokens.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::openai::read_chat;

    /// Prefill: 5 ms + 1 ms a token. Decode: 10 ms a token for one, 20 ms for 65.
    fn config() -> SimConfig {
        SimConfig {
            prefill_base: Duration::from_millis(5),
            prefill_tokens_per_second: 1000.0,
            decode_step: Duration::from_millis(10),
            jitter: 0.0,
            ..SimConfig::default()
        }
    }

    /// A chat request; role and line ends add 6 bytes to the prompt.
    fn ask(prompt_tokens: usize, max_tokens: usize, config: &SimConfig) -> GenerationRequest {
        let text = "x".repeat(prompt_tokens * 4 - 6);
        let body =
            format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"max_tokens":{max_tokens}}}"#);
        read_chat(body.as_bytes(), config).unwrap()
    }

    /// Serves one request; returns its prefill and its decode time in milliseconds.
    async fn serve(accelerator: &Accelerator, ask: &GenerationRequest) -> (u128, u128) {
        let start = Instant::now();
        let mut run = accelerator.begin(ask).await.unwrap();
        let prefill = start.elapsed();
        run.complete().await;
        run.finish();
        (prefill.as_millis(), (start.elapsed() - prefill).as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn request_takes_prefill_and_one_step_for_each_token_after_the_first() {
        let accelerator = Accelerator::new(config());
        let ask = ask(100, 6, accelerator.config());
        assert_eq!(serve(&accelerator, &ask).await, (105, 50));
        assert_eq!(accelerator.load().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn cached_blocks_skip_prefill() {
        let accelerator = Accelerator::new(config());
        // 100 tokens are six full blocks of 16 and four tokens.
        let ask = ask(100, 1, accelerator.config());
        assert_eq!(serve(&accelerator, &ask).await, (105, 0));
        assert_eq!(serve(&accelerator, &ask).await, (9, 0));
        accelerator.flush_cache();
        assert_eq!(serve(&accelerator, &ask).await, (105, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn prompt_that_is_cached_whole_still_computes_one_token() {
        let accelerator = Accelerator::new(config());
        let ask = ask(64, 1, accelerator.config());
        serve(&accelerator, &ask).await;
        assert_eq!(serve(&accelerator, &ask).await, (6, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn cache_switched_off_prefills_every_time() {
        let accelerator = Accelerator::new(SimConfig { cache_tokens: 0, ..config() });
        let ask = ask(100, 1, accelerator.config());
        serve(&accelerator, &ask).await;
        assert_eq!(serve(&accelerator, &ask).await, (105, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn prefills_run_one_after_another_and_the_second_finds_the_first_cached() {
        let accelerator = Accelerator::new(config());
        let ask = ask(100, 1, accelerator.config());
        let (first, second) = tokio::join!(serve(&accelerator, &ask), serve(&accelerator, &ask));
        assert_eq!((first.0, second.0), (105, 105 + 9));
    }

    #[tokio::test(start_paused = true)]
    async fn decode_slows_down_with_the_batch() {
        let accelerator = Accelerator::new(SimConfig { max_running: 65, ..config() });
        let one = ask(2, 1, accelerator.config());
        let mut others = Vec::new();
        for _ in 0..64 {
            others.push(accelerator.begin(&one).await.unwrap());
        }
        let ask = ask(2, 3, accelerator.config());
        assert_eq!(serve(&accelerator, &ask).await.1, 40);
    }

    #[tokio::test(start_paused = true)]
    async fn time_scale_zero_answers_without_any_time() {
        let accelerator = Accelerator::new(SimConfig { time_scale: 0.0, ..config() });
        let ask = ask(1000, 1000, accelerator.config());
        assert_eq!(serve(&accelerator, &ask).await, (0, 0));
        assert_eq!(accelerator.counters().generated_tokens.load(Ordering::Relaxed), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn prefill_worker_stops_after_one_token_and_decode_worker_skips_the_prompt() {
        let prefill = Accelerator::new(SimConfig { role: WorkerRole::Prefill, ..config() });
        let ask = ask(100, 6, prefill.config());
        assert_eq!(serve(&prefill, &ask).await, (105, 0));
        assert_eq!(prefill.counters().generated_tokens.load(Ordering::Relaxed), 1);
        let decode = Accelerator::new(SimConfig { role: WorkerRole::Decode, ..config() });
        assert_eq!(serve(&decode, &ask).await, (0, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn request_dropped_while_it_waits_prefills_or_decodes_leaves_nothing() {
        let accelerator = Accelerator::new(SimConfig { max_running: 2, ..config() });
        let ask = ask(100, 10, accelerator.config());
        // The first decodes, the second prefills, the third waits for a place.
        let first = accelerator.begin(&ask).await.unwrap();
        let mut second = Box::pin(accelerator.begin(&ask));
        let mut third = Box::pin(accelerator.begin(&ask));
        let short = Duration::from_millis(1);
        assert!(tokio::time::timeout(short, &mut second).await.is_err());
        assert!(tokio::time::timeout(short, &mut third).await.is_err());
        let load = accelerator.load();
        assert_eq!((load.running, load.waiting), (2, 1));
        assert_eq!((load.running_tokens, load.waiting_tokens), (200, 100));
        drop((third, second, first));
        let load = accelerator.load();
        assert_eq!((load.running, load.waiting), (0, 0));
        assert_eq!((load.running_tokens, load.waiting_tokens), (0, 0));
        assert_eq!((accelerator.counters().in_flight(), accelerator.counters().cancelled()), (0, 3));
        // Neither the batch nor the prefill lane is stuck.
        assert_eq!(serve(&accelerator, &ask).await, (9, 90));
    }

    #[tokio::test(start_paused = true)]
    async fn load_tells_the_throughput_since_the_last_reading() {
        let accelerator = Accelerator::new(config());
        let ask = ask(100, 100, accelerator.config());
        serve(&accelerator, &ask).await;
        // 100 tokens in 105 + 990 ms.
        let rate = accelerator.load().tokens_per_second;
        assert!((rate - 100.0 / 1.095).abs() < 0.1, "{rate}");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(accelerator.load().tokens_per_second, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn extra_delay_comes_on_top_even_without_modelled_time() {
        let accelerator = Accelerator::new(SimConfig { time_scale: 0.0, ..config() });
        let patch = serde_json::from_str(r#"{"extra_delay_ms": 30}"#).unwrap();
        accelerator.control().apply(&patch).unwrap();
        let ask = ask(100, 5, accelerator.config());
        assert_eq!(serve(&accelerator, &ask).await, (30, 0));
    }
}
