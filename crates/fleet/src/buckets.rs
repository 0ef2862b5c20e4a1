//! The buckets of JetStream, which are made where there are none.

use std::time::Duration;

use async_nats::jetstream::context::KeyValueErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::StorageType;

use crate::connection::{ANSWER_LIMIT, FleetConnection};
use crate::fleet_state_error::FleetStateError;

/// What is to be served.
pub const DESIRED_BUCKET: &str = "sgl-desired";

/// Who lives.
pub const LIVE_BUCKET: &str = "sgl-live";

/// Modules of those without a registry.
pub const MODULE_BUCKET: &str = "sgl-modules";

/// Values of each key that are kept.
const HISTORY: i64 = 16;

/// After so long without a word a router is taken for gone.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Longest that any one thing may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Both buckets of keys.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    pub(crate) desired: kv::Store,
    pub(crate) live: kv::Store,
}

impl Buckets {
    /// Opens both; makes those that there are not, with as many replicas as the connection says.
    pub(crate) async fn open(connection: &FleetConnection) -> Result<Self, FleetStateError> {
        let desired = kv::Config {
            bucket: DESIRED_BUCKET.to_owned(),
            description: "what fleets of sgl-router are to serve".to_owned(),
            history: HISTORY,
            num_replicas: connection.replicas(),
            ..kv::Config::default()
        };
        let live = kv::Config {
            bucket: LIVE_BUCKET.to_owned(),
            description: "which routers of fleets of sgl-router live".to_owned(),
            history: 1,
            num_replicas: connection.replicas(),
            max_age: SILENCE,
            storage: StorageType::Memory,
            ..kv::Config::default()
        };
        Ok(Self { desired: bucket(connection, desired).await?, live: bucket(connection, live).await? })
    }
}

async fn bucket(connection: &FleetConnection, config: kv::Config) -> Result<kv::Store, FleetStateError> {
    connection.check()?;
    let context = connection.context();
    let known = limited("opening a bucket", context.get_key_value(&config.bucket)).await?;
    match known {
        Ok(store) => Ok(store),
        // It says no more than that for a bucket that is not there.
        Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
            let made = limited("making a bucket", context.create_key_value(config)).await?;
            made.map_err(|error| FleetStateError::server("making a bucket")(error.into()))
        }
        Err(error) => Err(FleetStateError::server("opening a bucket")(error.into())),
    }
}

/// The modules; the store is made if there is none.
pub(crate) async fn module_store(connection: &FleetConnection) -> Result<ObjectStore, FleetStateError> {
    connection.check()?;
    let context = connection.context();
    if let Ok(store) = limited("opening the modules", context.get_object_store(MODULE_BUCKET)).await? {
        return Ok(store);
    }
    let config = object_store::Config {
        bucket: MODULE_BUCKET.to_owned(),
        description: Some("modules of fleets of sgl-router".to_owned()),
        num_replicas: connection.replicas(),
        ..object_store::Config::default()
    };
    let made = limited("making the store of modules", context.create_object_store(config)).await?;
    made.map_err(|error| FleetStateError::server("making the store of modules")(error.into()))
}

/// Ends what takes too long: a server that is frozen says nothing.
pub(crate) async fn limited<T>(
    what: &'static str,
    done: impl Future<Output = T>,
) -> Result<T, FleetStateError> {
    tokio::time::timeout(LIMIT.max(ANSWER_LIMIT), done).await.map_err(|_| FleetStateError::TimedOut { what })
}
