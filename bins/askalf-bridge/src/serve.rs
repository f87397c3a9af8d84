//! `serve`: the bridge in the foreground.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use askalf_bridge_core::{Bridge, BridgeOptions, Listener, ServeOptions, Transport, router};
use askalf_cli::{ExitCode, Failure, ReloadRequests, StopRequests, in_plain_words, print};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cli::Serve;
use crate::database::{Database, now};
use crate::home::{Home, HomeLock, Lock};
use crate::local_socket::{self, LocalSocket};
use crate::secret_file;
use crate::tls_files::TlsFiles;

/// How long a bridge that starts waits for whoever has its folder.
const LOCK_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn serve(home: &Home, arguments: Serve) -> anyhow::Result<ExitCode> {
    home.create()?;
    let _lock = take(home).await?;
    // Handlers first: a signal from here on is an orderly end, not a death.
    let mut stop = StopRequests::new().context("signals cannot be caught")?;

    let files = arguments.tls_cert.zip(arguments.tls_key);
    let files = files.map(|(chain, key)| TlsFiles { chain, key });
    let tls = match &files {
        Some(files) => Some((
            files.load().await?,
            files,
            ReloadRequests::new().context("signals cannot be caught")?,
        )),
        None => None,
    };
    let devices = listen(arguments.listen).await?;
    let address = devices.local_addr().context("the bound address cannot be read")?;
    let commands = LocalSocket::listen(home)?;
    let (bridge, database) = open_bridge(
        home,
        BridgeOptions {
            strict_scopes: arguments.strict_scopes,
            allow_query_token: !arguments.no_query_token,
            plain_pairing: arguments.pair_behind_proxy,
            rotate_every: arguments
                .rotate_every
                .map(|days| Duration::from_secs(days * 24 * 60 * 60)),
            interrupted_grace: Duration::from_secs(arguments.grace),
            ..BridgeOptions::default()
        },
    )
    .await?;
    bridge
        .start()
        .await
        .map_err(|error| Failure::new(ExitCode::TryAgain, &error).hint(error.hint()))?;

    if tls.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "listening on {address} without TLS: keys cross the network readable unless a proxy in front encrypts"
        );
    }
    tracing::info!(
        "listening on {address}{}",
        if tls.is_some() { " with TLS" } else { "" }
    );
    if arguments.print_address {
        print(&format!("{address}\n"))?;
    }

    let listener = match &tls {
        Some((tls, ..)) => Listener::Tls {
            listener: devices,
            tls: tls.clone(),
        },
        None => devices.into(),
    };
    let upkeep = async move {
        match tls {
            Some((tls, files, mut reloads)) => files.keep(&tls, &mut reloads).await,
            None => pending().await,
        }
    };
    let drain = Duration::from_secs(arguments.drain);
    let tcp = askalf_bridge_core::serve(
        listener,
        router(bridge.clone(), Transport::Tcp),
        ServeOptions::default(),
        bridge.shutting_down(),
    );
    let stop = async {
        stop.next().await;
        if !drain.is_zero() {
            tracing::info!(
                "draining: no new tasks; waiting for those that run, at most {} s",
                drain.as_secs()
            );
            tokio::select! {
                () = bridge.drain(drain) => {}
                () = stop.next() => {}
            }
        }
        tracing::info!("shutting down");
        bridge.shutdown().await;
    };
    tokio::select! {
        _ = async { tokio::join!(tcp, commands.serve(&bridge), stop) } => {}
        () = upkeep => {}
    }
    database.close().await;
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

/// The bridge on this home's database, and the database. The caller holds the lock.
pub(crate) async fn open_bridge(home: &Home, options: BridgeOptions) -> Result<(Bridge, Database), Failure> {
    let secret = secret_file::read_or_make(&home.secret())?;
    let database = Database::open(home.database()?).await?;
    let options = BridgeOptions {
        secret: Some(secret),
        ..options
    };
    let bridge = Bridge::new(database.store(), options, Arc::new(now));
    Ok((bridge, database))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| cannot_listen(ExitCode::TryAgain, address, &error))
}

/// Why an address cannot be had.
pub(crate) fn cannot_listen(code: ExitCode, address: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the program that uses it, or choose another with --listen ADDRESS:PORT (port 0 takes a free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "give an address of this machine with --listen ADDRESS:PORT; 0.0.0.0 means all of them"
        }
        _ => "choose another with --listen ADDRESS:PORT; a port from 1024 on needs no rights",
    };
    Failure::new(
        code,
        format!("cannot listen on {address}: {}", in_plain_words(error)),
    )
    .hint(hint)
}
