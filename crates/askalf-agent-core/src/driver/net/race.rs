//! One TCP connection by whichever address of a host answers first (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;

use crate::driver::clean::io_text;
use crate::machine::Fault;

/// How long an address may be silent before the next one is tried beside it: the delay that RFC 8305, section 8, recommends.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, Fault> {
    let found = lookup_host((host, port))
        .await
        .map_err(|error| Fault::NameLookup {
            detail: io_text(&error),
        })?;
    let connected = race(interleaved(found.collect()), |address| {
        TcpStream::connect(address)
    })
    .await;
    let stream = connected.map_err(|error| Fault::Unreachable {
        detail: format!("{host} port {port}: {}", io_text(&error)),
    })?;
    // Heartbeats and progress are small; nothing is gained by holding them back.
    let _only_slower = stream.set_nodelay(true);
    Ok(stream)
}

/// The first that succeeds; an address is tried when the one before it failed or took too long. Those that lose are dropped.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter();
    let mut tried = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    tried.extend(waiting.next().map(&connect));
    let mut patience = pin!(sleep(NEXT_ADDRESS));
    loop {
        tokio::select! {
            biased;
            outcome = tried.next() => match outcome {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = &mut patience, if waiting.len() > 0 => {}
        }
        if let Some(address) = waiting.next() {
            tried.push(connect(address));
            patience.set(sleep(NEXT_ADDRESS));
        }
    }
}

/// The families by turns, the resolver's favourite first (RFC 8305, section 4): a family that is not routed costs one delay.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let favourite = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == favourite);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(
            interleaved(found),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
        assert_eq!(
            interleaved(addresses(&["1.1.1.1:1", "[::1]:1"])),
            addresses(&["1.1.1.1:1", "[::1]:1"])
        );
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    /// Port 1 is silent, 2 refuses, others answer.
    async fn fake(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            port => Ok(port),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_quarter_second_and_one_that_refuses_nothing() {
        for (found, wanted, waited) in [
            (vec!["[::1]:9"], Some(9), 0),
            (vec!["[::1]:2", "1.1.1.1:8"], Some(8), 0),
            (vec!["[::1]:1", "1.1.1.1:8"], Some(8), 250),
            (vec!["[::1]:1", "1.1.1.1:1", "[::2]:2", "1.1.1.2:7"], Some(7), 500),
            (vec!["[::1]:2", "1.1.1.1:2"], None, 0),
            (vec![], None, 0),
        ] {
            let start = Instant::now();
            let first = race(addresses(&found), fake).await;
            assert_eq!(first.ok(), wanted, "{found:?}");
            let took = start.elapsed();
            assert!(
                (0..5).contains(&(took.as_millis() as i64 - waited)),
                "{found:?}: {took:?}"
            );
        }
    }
}
