//! `serve`: the bridge in the foreground.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::{Bridge, BridgeOptions, ServeOptions, Transport, router};
use askalf_cli::{ExitCode, Failure, StopRequests, print};
use askalf_store::{OpenError, OpenOptions, SqliteStore};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cli::Serve;
use crate::home::{Home, HomeLock, Lock, describe};
use crate::local_socket::{self, LocalSocket};

/// How long a bridge that starts waits for whoever has its folder.
const LOCK_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn serve(home: &Home, arguments: Serve) -> anyhow::Result<ExitCode> {
    home.create()?;
    let _lock = take(home).await?;
    // Handlers first: a signal from here on is an orderly end, not a death.
    let mut stop = StopRequests::new().context("signals cannot be caught")?;

    let devices = listen(arguments.listen).await?;
    let address = devices.local_addr().context("the bound address cannot be read")?;
    let commands = LocalSocket::listen(home)?;
    let bridge = open_bridge(
        home,
        BridgeOptions {
            strict_scopes: arguments.strict_scopes,
            allow_query_token: !arguments.no_query_token,
            interrupted_grace: Duration::from_secs(arguments.grace),
            ..BridgeOptions::default()
        },
    )
    .await?;
    bridge
        .start()
        .await
        .map_err(|error| Failure::new(ExitCode::TryAgain, &error).hint(error.hint()))?;

    if !address.ip().is_loopback() {
        tracing::warn!(
            "listening on {address} without TLS: keys cross the network readable unless a proxy in front encrypts"
        );
    }
    tracing::info!("listening on {address}");
    if arguments.print_address {
        print(&format!("{address}\n"))?;
    }

    let tcp = askalf_bridge_core::serve(
        devices,
        router(bridge.clone(), Transport::Tcp),
        ServeOptions::default(),
        bridge.shutting_down(),
    );
    let stop = async {
        stop.next().await;
        tracing::info!("shutting down");
        bridge.shutdown().await;
    };
    tokio::join!(tcp, commands.serve(&bridge), stop);
    local_socket::remove(home);
    Ok(ExitCode::Done)
}

/// Takes the folder and the database. A command without a bridge has them for a moment, and so has a bridge that goes down;
/// one that answers keeps them.
async fn take(home: &Home) -> Result<HomeLock, Failure> {
    let deadline = Instant::now() + LOCK_WAIT;
    let mut told = false;
    loop {
        let held = match home.lock()? {
            Lock::Taken(lock) => return Ok(lock),
            Lock::Held(path) => path,
        };
        if Instant::now() >= deadline || local_socket::connect(home).await.is_some() {
            return Err(Failure::new(
                ExitCode::TryAgain,
                format!("another bridge or command uses {}", held.display()),
            )
            .hint("stop it, or give this bridge a folder and a database of its own"));
        }
        if !told {
            tracing::info!(
                "waiting for another bridge or command to leave {}",
                held.display()
            );
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The bridge on this home's database. The caller holds the lock.
pub(crate) async fn open_bridge(home: &Home, options: BridgeOptions) -> Result<Bridge, Failure> {
    let path = home.database()?;
    let opened =
        tokio::task::spawn_blocking(move || SqliteStore::open(&path, &OpenOptions::new(now()))).await;
    let store = opened
        .map_err(|_| Failure::new(ExitCode::Failed, "opening the database did not end"))?
        .map_err(|error| {
            let code = match error {
                OpenError::Busy { .. } => ExitCode::TryAgain,
                _ => ExitCode::Configuration,
            };
            Failure::new(code, &error).hint(error.hint())
        })?;
    Ok(Bridge::new(Arc::new(store), options, Arc::new(now)))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(ExitCode::TryAgain, format!("cannot listen on {address}: {}", describe(&error)))
            .hint("stop the program that uses it, or choose another with --listen ADDRESS:PORT (port 0 takes a free one)")
    })
}

fn now() -> UnixMillis {
    UnixMillis::from_system_time(SystemTime::now())
}
