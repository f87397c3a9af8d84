//! Real sockets: certificates, proxies, and what is said of each.

mod authority;
mod peers;
mod proxies;
mod tls;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::NetDial;
use crate::driver::dial::{Dial, Stream};
use crate::machine::Fault;
use crate::{Endpoint, Route, Timings};

async fn dial(url: &str, route: &Route) -> Result<Box<dyn Stream>, Fault> {
    dial_with(url, route, &Timings::default()).await
}

async fn dial_with(url: &str, route: &Route, timings: &Timings) -> Result<Box<dyn Stream>, Fault> {
    let endpoint = Endpoint::parse(url, true).unwrap();
    tokio::time::timeout(Duration::from_secs(20), NetDial.dial(&endpoint, route, timings))
        .await
        .unwrap()
}

/// Whether bytes go through to a peer that sends back what it is sent.
async fn echoes(mut stream: Box<dyn Stream>) {
    stream.write_all(b"over and out").await.unwrap();
    stream.flush().await.unwrap();
    let mut back = [0; 12];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"over and out");
}

/// Id, text and hint of the fault's verdict.
fn told(outcome: Result<Box<dyn Stream>, Fault>) -> (String, String, String) {
    let Err(fault) = outcome else {
        panic!("a connection came about")
    };
    let reason = fault.verdict().reason;
    (reason.id.to_string(), reason.text, reason.hint.to_string())
}
