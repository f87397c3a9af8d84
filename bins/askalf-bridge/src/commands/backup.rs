//! `backup`: database and secret in a new folder.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use askalf_bridge_auth::BridgeSecret;
use askalf_cli::{
    ExitCode, Failure, in_plain_words, print, private_file, private_folder, sync_folder_of, with_progress,
};
use askalf_store::SqliteStore;
use serde_json::json;

use super::{note, show_json};
use crate::cli::Backup;
use crate::database::{blocking, open_options};
use crate::home::Home;
use crate::secret_file;

/// Names within the folder.
pub(super) const DATABASE: &str = "bridge.db";
pub(super) const SECRET: &str = "secret";

pub(crate) async fn backup(home: &Home, arguments: Backup) -> anyhow::Result<ExitCode> {
    // Without a slash at its end, which would make the folder a part of its own path.
    let folder: PathBuf = arguments.folder.components().collect();
    let from = home.database_file()?;
    if fs::symlink_metadata(&from).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let problem = format!("there is nothing to back up: no database at {}", from.display());
        return Err(Failure::new(ExitCode::Configuration, problem)
            .hint("name the bridge's folder with --home DIR, or its database with --database")
            .into());
    }
    let secret = secret_file::read(&home.secret())?;
    if fs::symlink_metadata(&folder).is_ok() {
        return Err(exists(&folder).into());
    }
    // It gets its name when it is whole: a backup that was cut off cannot be mistaken for one.
    let part = Part::make(&folder)?;
    let copied = blocking({
        let (from, to) = (from.clone(), part.0.join(DATABASE));
        move || SqliteStore::backup(&from, &to, &open_options())
    });
    let inspected = with_progress(&format!("Copying {}", from.display()), copied).await?;
    match &secret {
        Some(secret) => {
            write_secret(&part.0.join(SECRET), secret).map_err(|error| unwritable(&folder, &error))?;
        }
        None => note("this bridge has no secret yet, so the backup holds none"),
    }
    part.finish(&folder)?;
    if arguments.json {
        show_json(&json!({ "folder": folder, "schema": inspected.schema }))?;
    } else {
        print(&format!(
            "{} holds the database and the bridge's secret. Keep it as safe as the bridge itself.\n",
            folder.display()
        ))?;
    }
    Ok(ExitCode::Done)
}

/// The folder before it has its name; removed unless it gets it.
struct Part(PathBuf);

impl Part {
    fn make(folder: &Path) -> Result<Self, Failure> {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let part = PathBuf::from(name);
        private_folder()
            .recursive(false)
            .create(&part)
            .map_err(|error| unwritable(folder, &error))?;
        Ok(Self(part))
    }

    fn finish(self, folder: &Path) -> Result<(), Failure> {
        let named = sync_folder_of(&self.0.join(DATABASE))
            .and_then(|()| fs::rename(&self.0, folder))
            .and_then(|()| sync_folder_of(folder));
        named.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => exists(folder),
            _ => unwritable(folder, &error),
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already where it got its name; a leftover is named after its process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_secret(path: &Path, secret: &BridgeSecret) -> io::Result<()> {
    let mut file = private_file().write(true).create_new(true).open(path)?;
    file.write_all(secret.expose_secret().as_slice())?;
    file.sync_all()
}

fn exists(folder: &Path) -> Failure {
    Failure::new(ExitCode::Failed, format!("{} exists already", folder.display()))
        .hint("name a folder that does not exist yet")
}

fn unwritable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(
        ExitCode::Failed,
        format!(
            "{} could not be written: {}",
            folder.display(),
            in_plain_words(error)
        ),
    )
    .hint(if error.kind() == ErrorKind::NotFound {
        "make the folder around it first, for the user that the bridge runs as"
    } else {
        "check the rights of the folder around it and the free space"
    })
}
