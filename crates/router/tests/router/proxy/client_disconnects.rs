use bytes::Bytes;
use sgl_testkit::client::{TestClient, chat, piece};
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use sgl_testkit::{router, upstream};

#[tokio::test]
async fn client_that_hangs_up_before_the_answer_ends_the_call_to_the_worker() {
    let (worker, ended) = Upstream::without_an_answer().await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    {
        let sent = client.send(chat("hi"));
        tokio::select! {
            _ = sent => panic!("there is no answer"),
            () = worker.arrived(1) => {}
        }
    }
    drop(client);
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
    let line = r#"sgl_router_client_disconnects_total{route="chat_completions"} 1"#;
    until(async || router::metrics(&router).await.text().contains(line)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn client_that_hangs_up_in_a_stream_ends_the_call_to_the_worker() {
    let (send_script, mut scripts) = tokio::sync::mpsc::channel(1);
    let worker = Upstream::start(move |_| {
        let (response, pieces, ended) = upstream::stream();
        send_script.try_send((pieces, ended)).unwrap();
        async { response }
    })
    .await;
    let router = router::over(&[&worker]).await;
    let mut client = TestClient::connect(router.addresses().data).await;
    let begun = async {
        let (pieces, ended) = soon(scripts.recv()).await.unwrap();
        pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
        (pieces, ended)
    };
    let (response, (_pieces, ended)) = tokio::join!(client.send(chat("hi")), begun);
    let mut body = response.unwrap().into_body();
    assert!(piece(&mut body).await.is_some());
    drop((body, client));
    soon(ended.notified()).await;
    until(async || router::in_flight(&router, &worker.url()) == 0).await;
    let line = r#"sgl_router_client_disconnects_total{route="chat_completions"} 1"#;
    until(async || router::metrics(&router).await.text().contains(line)).await;
}
