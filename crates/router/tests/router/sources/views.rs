//! What operators see of sources.

use serde_json::Value;
use sgl_router::RunningRouter;
use sgl_testkit::client::{call, get};
use sgl_testkit::waits::until;

/// The first source.
pub(crate) async fn source(router: &RunningRouter) -> Value {
    call(router.addresses().admin, get("/v1/sources")).await.json()["sources"][0].clone()
}

/// The URLs of the workers that get requests, sorted.
pub(crate) async fn serving(router: &RunningRouter) -> Vec<String> {
    let list = call(router.addresses().admin, get("/workers")).await.json();
    let workers = list["workers"].as_array().expect("a list").clone();
    let serving = workers.iter().filter(|worker| worker["draining"] == false);
    let mut urls: Vec<String> =
        serving.map(|worker| worker["url"].as_str().expect("a URL").to_owned()).collect();
    urls.sort();
    urls
}

/// Waits until these and no others get requests.
pub(crate) async fn until_serving(router: &RunningRouter, urls: &[&str]) {
    until(async || serving(router).await == urls).await;
}

/// Waits until the first source has a fault with this in it; its state then.
pub(crate) async fn until_fault(router: &RunningRouter, said: &str) -> Value {
    until(async || source(router).await["fault"].as_str().is_some_and(|fault| fault.contains(said))).await;
    source(router).await
}
