//! Tokens of prompts that come as text, through the HTTP router.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sgl_router::config::TokenizerEntry;
use sgl_router::internals::load_tokenizers;
use sgl_router::{Metrics, RunningRouter};
use sgl_testkit::client::{TestClient, call, chat, get, post};
use sgl_testkit::process::Process;
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sglang_router_rs::policies::{LoadBalancingPolicy, PolicyFactory, PromptTokens, RequestNeeds};

use crate::proxy::custom_policy::{self, CustomPolicy};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer");

fn entry(model: &str) -> TokenizerEntry {
    TokenizerEntry { model: model.to_owned(), path: FIXTURE.into(), chat_template: None }
}

/// Ids and hashes.
type Hashed = (Vec<u32>, Vec<u64>);

type Told = (Option<Vec<u32>>, Option<PromptTokens>);

#[tokio::test]
async fn policy_gets_tokens_of_text_where_the_model_has_a_tokenizer_and_estimates_elsewhere() {
    let worker = Upstream::saying("{}").await;
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let seen = Arc::clone(&told);
    let needs = RequestNeeds { tokens: true, prompt_tokens: true, ..RequestNeeds::default() };
    let policy = CustomPolicy::new(needs, move |inner, table, info| {
        seen.lock().push((info.tokens.map(<[u32]>::to_vec), info.prompt_tokens));
        inner.decide(table, info)
    });
    let (proxy, address) = custom_policy::start(&policy, &[&worker]).await;
    let mut client = TestClient::connect(address).await;
    let ask = r#"{"model": "m", "prompt": "<|im_start|>user"}"#;
    client.call(post("/v1/completions", ask)).await;
    load_tokenizers(&proxy, vec![entry("m")]).await.unwrap();
    client.call(post("/v1/completions", ask)).await;
    client.call(post("/v1/completions", &ask.replace("\"m\"", "\"n\""))).await;
    client.call(post("/v1/completions", r#"{"model": "m", "prompt": [7, 8]}"#)).await;
    client.call(post("/v1/completions", r#"{"model": "m", "prompt": "cut"#)).await;
    // A chat has what the template adds.
    client.call(chat("user")).await;
    let told = told.lock().clone();
    let counted = |count| Some(PromptTokens { count, exact: true });
    let estimated = |count| Some(PromptTokens { count, exact: false });
    assert_eq!(told[0], (None, estimated(4)));
    let ids = told[1].0.clone().unwrap();
    assert_eq!((ids[0], told[1].1), (601, counted(u32::try_from(ids.len()).unwrap())));
    assert_eq!(told[2], (None, estimated(4)));
    assert_eq!(told[3], (Some(vec![7, 8]), counted(2)));
    assert_eq!((&told[4].0, told[4].1.unwrap().exact), (&None, false));
    let chat = told[5].0.clone().unwrap();
    assert!(chat.starts_with(&ids) && chat.contains(&602), "{chat:?} {ids:?}");
    assert_eq!(told[5].1, counted(u32::try_from(chat.len()).unwrap()));
}

#[tokio::test]
async fn prefix_hashes_of_tokenized_text_are_those_of_its_tokens() {
    let worker = Upstream::saying("{}").await;
    let told: Arc<Mutex<Vec<Hashed>>> = Arc::default();
    let seen = Arc::clone(&told);
    let needs = RequestNeeds { tokens: true, prefix_hashes: true, ..RequestNeeds::default() };
    let policy = CustomPolicy::new(needs, move |inner, table, info| {
        let (ids, hashes) = (info.tokens.unwrap_or_default(), info.prefix_hashes.unwrap_or_default());
        seen.lock().push((ids.to_vec(), hashes.to_vec()));
        inner.decide(table, info)
    });
    let (proxy, address) = custom_policy::start(&policy, &[&worker]).await;
    load_tokenizers(&proxy, vec![entry("*")]).await.unwrap();
    let mut client = TestClient::connect(address).await;
    let text = "A policy is a plugin that chooses the worker. ".repeat(8);
    let ask = |prompt: &str| post("/v1/completions", &format!(r#"{{"model": "m", "prompt": {prompt}}}"#));
    client.call(ask(&format!("{text:?}"))).await;
    let (ids, hashes) = told.lock()[0].clone();
    assert!(hashes.len() > 2 && hashes.len() == ids.len() / 16, "{hashes:?} of {ids:?}");
    client.call(ask(&format!("{ids:?}"))).await;
    assert_eq!(told.lock()[1], (ids, hashes.clone()));
    // Of a batch only the first prompt counts.
    client.call(ask(&format!("[{text:?}, {text:?}]"))).await;
    assert_eq!(told.lock()[2].1, hashes);
    // Pictures are no text, so their digests stand in the hashes, which are of text then.
    let picture = |url: &str| {
        let part = format!(r#"{{"type": "image_url", "image_url": {{"url": "{url}"}}}}"#);
        let body = format!(
            r#"{{"messages": [{{"role": "user", "content": [{part}, {{"type": "text", "text": {text:?}}}]}}]}}"#
        );
        post("/v1/chat/completions", &body)
    };
    client.call(picture("a")).await;
    client.call(picture("b")).await;
    let told = told.lock().clone();
    assert!(!told[3].1.is_empty() && told[3].1[0] != told[4].1[0]);
}

#[tokio::test]
async fn nothing_is_tokenized_for_a_policy_that_declares_no_tokens() {
    let worker = Upstream::saying("{}").await;
    for (policy, needs_text) in [("round_robin", false), ("consistent_hash", true)] {
        let mut config = router::config(vec![worker.entry()]);
        config.policy = policy.to_owned();
        config.tokenizers = vec![entry("*")];
        let router = router::start(config).await;
        assert_eq!(router.proxy().policy().needs().text, needs_text);
        call(router.addresses().data, chat("hi")).await;
        let page = call(router.addresses().metrics, get("/metrics")).await.text().to_owned();
        assert!(page.contains("tokenized_prompts_total{outcome=\"tokenized\"} 0"), "{page}");
        assert!(page.contains("tokenizer_cache_bytes{model=\"*\"} 0"), "{page}");
    }
}

#[tokio::test]
async fn router_does_not_start_with_a_tokenizer_that_cannot_be_used() {
    let mut config = router::config(Vec::new());
    let missing = |model: &str| TokenizerEntry { path: PathBuf::from("/nowhere"), ..entry(model) };
    config.tokenizers = vec![missing("a"), entry("b"), missing("c")];
    let factory = PolicyFactory::new();
    let error =
        RunningRouter::start(config, &factory, Arc::new(Metrics::new())).await.unwrap_err().to_string();
    assert!(error.contains("tokenizers[0].path") && error.contains("tokenizers[2].path"), "{error}");
    assert!(!error.contains("tokenizers[1]"), "{error}");
}

#[tokio::test]
async fn hangup_replaces_tokenizers_and_keeps_them_if_one_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    let configure = |model: &str, path: &str| {
        std::fs::write(&file, format!("[[tokenizers]]\nmodel = {model:?}\npath = {path:?}\n")).unwrap();
    };
    configure("first", FIXTURE);
    let (mut router, log) = Process::serve_and_log(&["--config", file.to_str().unwrap()]).await;
    let serving: serde_json::Value = serde_json::from_str(log.last().unwrap()).unwrap();
    let metrics = serving["fields"]["metrics"].as_str().unwrap().parse().unwrap();
    let shows = async |model: &str| {
        let page = call(metrics, get("/metrics")).await.text().to_owned();
        page.contains(&format!("tokenizer_cache_bytes{{model={model:?}}}"))
    };
    assert!(shows("first").await);
    configure("second", "/nowhere");
    router.signal("-HUP");
    router.logged("tokenizers[0].path").await;
    assert!(shows("first").await && !shows("second").await);
    configure("second", FIXTURE);
    router.signal("-HUP");
    router.logged("reloaded the configuration").await;
    assert!(!shows("first").await && shows("second").await);
}
