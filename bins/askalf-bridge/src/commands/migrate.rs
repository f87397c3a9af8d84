//! `migrate`

use askalf_cli::{ExitCode, Failure, print, with_progress};
use serde_json::json;

use super::show_json;
use crate::cli::Migrate;
use crate::database::{Database, inspect, shown};
use crate::home::{Home, HomeLock, Lock};

pub(crate) async fn migrate(home: &Home, arguments: Migrate) -> anyhow::Result<ExitCode> {
    home.create()?;
    let _lock = locked(home)?;
    let location = home.database()?;
    let shown = shown(&location)?;
    let opened = Database::open(location.clone());
    let database = with_progress(&format!("Bringing {shown} up to date"), opened).await?;
    database.close().await;
    let inspected = inspect(location).await?;
    if arguments.json {
        show_json(&json!({ "schema": inspected.schema }))?;
    } else {
        print(&format!("{shown} has schema {}.\n", inspected.schema))?;
    }
    Ok(ExitCode::Done)
}

/// The folder and the database for this command alone.
pub(super) fn locked(home: &Home) -> Result<HomeLock, Failure> {
    match home.lock()? {
        Lock::Taken(lock) => Ok(lock),
        Lock::Held(path) => Err(Failure::new(
            ExitCode::TryAgain,
            format!("a bridge or another command uses {}", path.display()),
        )
        .hint("stop the bridge first")),
    }
}
