//! `check-config`: what `serve` would start with.

use std::fs;

use askalf_cli::{ExitCode, Failure, Table, print};
use serde::Serialize;
use tokio::net::TcpListener;

use super::show_json;
use crate::cli::{CheckConfig, Serve};
use crate::database::{inspect, shown};
use crate::home::{Home, Location};
use crate::local_socket;
use crate::secret_file;
use crate::serve::cannot_listen;
use crate::tls_files::TlsFiles;

/// Longest path of a socket, in bytes: `sun_path` of unix(7), without the byte that ends it.
#[cfg(unix)]
const MAX_SOCKET_PATH: usize = 107;

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    id: &'static str,
    outcome: Outcome,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Failed,
}

pub(crate) async fn check_config(home: &Home, arguments: CheckConfig) -> anyhow::Result<ExitCode> {
    let runs = local_socket::connect(home).await.is_some();
    let mut checks = vec![
        folder(home),
        #[cfg(unix)]
        socket(home),
        secret(home),
        database(home).await,
        listen(&arguments.serve, runs).await,
    ];
    checks.extend(tls(arguments.serve).await);
    if arguments.json {
        show_json(&checks)?;
    } else {
        let mut table = Table::new(&["CHECK", "OUTCOME", ""]);
        for check in &checks {
            let outcome = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "failed",
            };
            let hint = check.hint.as_ref().map(|hint| format!(" (hint: {hint})"));
            let text = format!("{}{}", check.message, hint.unwrap_or_default());
            table.row(vec![check.id.to_owned(), outcome.to_owned(), text]);
        }
        print(&table.render())?;
    }
    let good = checks.iter().all(|check| check.outcome == Outcome::Ok);
    Ok(if good {
        ExitCode::Done
    } else {
        ExitCode::Configuration
    })
}

fn folder(home: &Home) -> Check {
    match home.check() {
        Ok(true) => ok("home", format!("{} is there", home.folder().display())),
        Ok(false) => ok("home", format!("{} will be made", home.folder().display())),
        Err(failure) => failed("home", &failure),
    }
}

#[cfg(unix)]
fn socket(home: &Home) -> Check {
    let path = home.socket();
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        let problem =
            format!("the path of the command socket has {bytes} bytes; at most {MAX_SOCKET_PATH} fit");
        let failure = Failure::new(ExitCode::Configuration, problem).hint("choose a shorter --home DIR");
        return failed("socket", &failure);
    }
    ok(
        "socket",
        format!("commands reach the bridge at {}", path.display()),
    )
}

fn secret(home: &Home) -> Check {
    match secret_file::read(&home.secret()) {
        Ok(Some(_)) => ok("secret", format!("{} is there", home.secret().display())),
        Ok(None) => ok("secret", format!("{} will be made", home.secret().display())),
        Err(failure) => failed("secret", &failure),
    }
}

async fn database(home: &Home) -> Check {
    let path = match home.database() {
        Ok(Location::File(path)) => path,
        Ok(server) => return inspected(server).await,
        Err(failure) => return failed("database", &failure),
    };
    match fs::symlink_metadata(&path) {
        Ok(_) => inspected(Location::File(path)).await,
        Err(_)
            if path
                .parent()
                .is_none_or(|folder| folder == home.folder() || folder.is_dir()) =>
        {
            ok("database", format!("{} will be made", path.display()))
        }
        Err(_) => {
            let problem = format!("the folder of the database {} does not exist", path.display());
            failed(
                "database",
                &Failure::new(ExitCode::Configuration, problem).hint("make it first"),
            )
        }
    }
}

async fn inspected(location: Location) -> Check {
    let shown = match shown(&location) {
        Ok(shown) => shown,
        Err(failure) => return failed("database", &failure),
    };
    match inspect(location).await {
        Ok(found) if found.schema == found.newest => {
            ok("database", format!("{shown} has schema {}", found.schema))
        }
        Ok(found) => ok(
            "database",
            format!(
                "{shown} has schema {}; the start brings it to {}",
                found.schema, found.newest
            ),
        ),
        Err(failure) => failed("database", &failure),
    }
}

/// Takes the address for a moment. A bridge that runs on this home has it, most likely.
async fn listen(arguments: &Serve, runs: bool) -> Check {
    let address = arguments.listen;
    match TcpListener::bind(address).await {
        Ok(_) => ok("listen", format!("{address} is free")),
        Err(error) if runs && error.kind() == std::io::ErrorKind::AddrInUse => ok(
            "listen",
            format!("{address} is in use, and a bridge runs on this home"),
        ),
        Err(error) => failed("listen", &cannot_listen(ExitCode::Configuration, address, &error)),
    }
}

async fn tls(arguments: Serve) -> Option<Check> {
    let (chain, key) = arguments.tls_cert.zip(arguments.tls_key)?;
    let shown = chain.display().to_string();
    Some(match (TlsFiles { chain, key }).load().await {
        Ok(_) => ok("tls", format!("{shown} and its key belong together")),
        Err(failure) => failed("tls", &failure),
    })
}

fn ok(id: &'static str, message: String) -> Check {
    Check {
        id,
        outcome: Outcome::Ok,
        message,
        hint: None,
    }
}

fn failed(id: &'static str, failure: &Failure) -> Check {
    Check {
        id,
        outcome: Outcome::Failed,
        message: failure.to_string(),
        hint: failure.hint_text().map(str::to_owned),
    }
}
