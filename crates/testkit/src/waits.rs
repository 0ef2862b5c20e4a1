//! Waiting for what happens in the background, without fixed sleeps.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Waits for something that happens in the background, without a fixed sleep.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for something that must happen. The limit is far beyond what it takes: it turns a test
/// that would hang into one that fails.
pub async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("it happens soon")
}

/// Asks again and again until something is true. For changes that announce themselves nowhere.
pub async fn until(mut is_true: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Polls a future this often, then drops it. True if it came to its end before.
pub async fn poll_then_drop(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_once(future.as_mut()).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn poll_once(future: Pin<&mut impl Future>) -> bool {
    let mut future = Some(future);
    std::future::poll_fn(move |context| {
        let done = future.take().is_some_and(|future| future.poll(context).is_ready());
        Poll::Ready(done)
    })
    .await
}
