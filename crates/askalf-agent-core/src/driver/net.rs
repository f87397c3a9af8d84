//! The stream to a bridge: directly or by a proxy, and secured where the URL says so.

mod proxy;
mod race;
#[cfg(test)]
mod tests;
mod tls;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::net::TcpStream;

use super::dial::{Dial, Stream, within};
use crate::machine::{Fault, Wait};
use crate::{Endpoint, Route, Timings};

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
        let stream: Box<dyn Stream> = match route.proxies.to(endpoint) {
            Some(intercept) => proxy::tunnel(&intercept, endpoint, route, timings).await?,
            None => Box::new(tcp(endpoint.host(), endpoint.port(), timings).await?),
        };
        if !endpoint.is_tls() {
            return Ok(stream);
        }
        let secured = tls::secure(stream, endpoint.host(), route, &route.pins);
        Ok(Box::new(
            within(timings.handshake, Wait::Tls, secured.boxed()).await??,
        ))
    }
}

async fn tcp(host: &str, port: u16, timings: &Timings) -> Result<TcpStream, Fault> {
    let connecting = race::connect(host, port).boxed();
    within(timings.connect, Wait::Connection, connecting).await?
}
