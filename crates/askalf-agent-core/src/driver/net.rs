//! The stream to a bridge: directly or by a proxy, and secured where the URL says so.

mod proxy;
mod race;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::dial::{Dial, Stream, within};
use crate::machine::{Fault, Wait};
use crate::{Endpoint, Route, Timings, TlsPin};

/// Dials on the network.
#[derive(Debug)]
pub(crate) struct NetDial;

#[async_trait]
impl Dial for NetDial {
    async fn dial(
        &self,
        endpoint: &Endpoint,
        route: &Route,
        timings: &Timings,
    ) -> Result<Box<dyn Stream>, Fault> {
        let stream = unsecured(endpoint, route, timings).await?;
        if !endpoint.is_tls() {
            return Ok(stream);
        }
        Ok(Box::new(secured(stream, endpoint, route, timings).await?))
    }
}

/// Dials on the network and notes what it meets.
#[derive(Debug, Default)]
pub(crate) struct NotingDial {
    met: Mutex<Met>,
}

/// What a dial met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Met {
    /// There is a stream to the bridge, by a proxy or without.
    pub(crate) connected: bool,
    /// There is a stream that can be spoken on: TLS is done where there is any.
    pub(crate) secured: bool,
    /// The fingerprint of the bridge's key.
    pub(crate) key: Option<TlsPin>,
}

impl NotingDial {
    pub(crate) fn met(&self) -> Met {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Dial for NotingDial {
    async fn dial(
        &self,
        endpoint: &Endpoint,
        route: &Route,
        timings: &Timings,
    ) -> Result<Box<dyn Stream>, Fault> {
        let stream = unsecured(endpoint, route, timings).await?;
        self.lock().connected = true;
        if !endpoint.is_tls() {
            self.lock().secured = true;
            return Ok(stream);
        }
        let stream = secured(stream, endpoint, route, timings).await?;
        {
            let mut met = self.lock();
            met.secured = true;
            met.key = tls::shown_key(&stream);
        }
        Ok(Box::new(stream))
    }
}

async fn unsecured(endpoint: &Endpoint, route: &Route, timings: &Timings) -> Result<Box<dyn Stream>, Fault> {
    Ok(match route.proxies.to(endpoint) {
        Some(intercept) => proxy::tunnel(&intercept, endpoint, route, timings).await?,
        None => Box::new(tcp(endpoint.host(), endpoint.port(), timings).await?),
    })
}

async fn secured(
    stream: Box<dyn Stream>,
    endpoint: &Endpoint,
    route: &Route,
    timings: &Timings,
) -> Result<TlsStream<Box<dyn Stream>>, Fault> {
    let secured = tls::secure(stream, endpoint.host(), route, &route.pins);
    within(timings.handshake, Wait::Tls, secured.boxed()).await?
}

async fn tcp(host: &str, port: u16, timings: &Timings) -> Result<TcpStream, Fault> {
    let connecting = race::connect(host, port).boxed();
    within(timings.connect, Wait::Connection, connecting).await?
}
