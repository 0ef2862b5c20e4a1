//! What clients' requests come in by: the data plane, or the picker behind Envoy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::checked::PickerSettings;
use crate::metrics::Metrics;
#[cfg(feature = "envoy")]
use crate::picker::PickerServer;
use crate::proxy::{DataPlane, DataServer};
use crate::tls::ListenerTls;
use sglang_router_rs::policies::PolicyFactory;

/// The policy that picks for Envoy where the one in use is too late.
#[cfg(feature = "envoy")]
const NATIVE: &str = "least_load";

/// A bound listener.
#[derive(Debug)]
pub(crate) enum FrontListener {
    /// For clients.
    Clients(DataServer),
    /// For Envoy.
    #[cfg(feature = "envoy")]
    Envoy(Box<PickerServer>),
}

impl FrontListener {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// If it cannot be bound, or if this build has no picker.
    pub(crate) async fn bind(
        address: SocketAddr,
        proxy: &Arc<DataPlane>,
        tls: Option<Arc<ListenerTls>>,
        picker: Option<(PickerSettings, &PolicyFactory, &Metrics)>,
    ) -> io::Result<Self> {
        let proxy = Arc::clone(proxy);
        let Some(picker) = picker else {
            return Ok(Self::Clients(DataServer::bind(address, proxy).await?.with_tls(tls)));
        };
        Self::bind_picker(address, proxy, picker).await
    }

    #[cfg(feature = "envoy")]
    async fn bind_picker(
        address: SocketAddr,
        proxy: Arc<DataPlane>,
        (settings, factory, metrics): (PickerSettings, &PolicyFactory, &Metrics),
    ) -> io::Result<Self> {
        let native = factory.create_by_name(NATIVE).ok_or(io::ErrorKind::NotFound)?;
        let server = PickerServer::bind(address, proxy, native, settings.fallbacks, metrics).await?;
        Ok(Self::Envoy(Box::new(server)))
    }

    #[cfg(not(feature = "envoy"))]
    async fn bind_picker<T>(_: SocketAddr, _: Arc<DataPlane>, _: T) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The address that is bound.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Clients(server) => server.address(),
            #[cfg(feature = "envoy")]
            Self::Envoy(server) => server.address(),
        }
    }

    /// Serves until told to stop, and until requests in flight have finished.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        match self {
            Self::Clients(server) => server.serve(stop).await,
            #[cfg(feature = "envoy")]
            Self::Envoy(server) => server.serve(stop).await,
        }
    }
}
