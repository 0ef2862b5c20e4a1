//! Modules in the object store.

use sgl_fleet::FleetStateError;
use sgl_fleet::modules::{FleetModule, digest_of, keep_module, kept_module};
use sgl_testkit::nats_server::NatsServer;

use crate::store;

#[tokio::test]
async fn module_comes_back_as_it_was_and_no_other_is_taken_for_it() {
    let Some(server) = NatsServer::start() else { return };
    let store = store(&server.url()).await;
    let connection = store.connection();
    let module = FleetModule { wasm: vec![7; 300_000], signature: Some(vec![1, 2, 3]) };
    let digest = keep_module(connection, &module).await.unwrap();
    assert_eq!(digest, digest_of(&module.wasm));
    assert_eq!(kept_module(connection, &digest).await.unwrap(), module);
    let missing = kept_module(connection, &digest_of(b"other")).await;
    assert!(matches!(missing, Err(FleetStateError::NoModule { .. })), "{missing:?}");
    // Somebody puts another one in its place.
    let client = async_nats::connect(server.url()).await.unwrap();
    let objects = async_nats::jetstream::new(client).get_object_store("sgl-modules").await.unwrap();
    objects.put(digest.as_str(), &mut &b"another"[..]).await.unwrap();
    let changed = kept_module(connection, &digest).await;
    assert!(
        matches!(&changed, Err(FleetStateError::Digest { expected, .. }) if *expected == digest),
        "{changed:?}"
    );
    let large = FleetModule { wasm: vec![0; (32 << 20) + 1], signature: None };
    assert!(matches!(keep_module(connection, &large).await, Err(FleetStateError::TooLarge { .. })));
}
