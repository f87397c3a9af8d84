//! `migrate`, `backup`, `restore`, `check-config`.

use std::path::PathBuf;

use clap::Args;

use super::Serve;

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Print {"schema"}
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Folder to make; it must not exist yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print {"folder","schema"}
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Folder that 'backup' made
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Replace a database that exists; the old one is kept beside, named and dated
    #[arg(long)]
    pub force: bool,
    /// Print {"database","kept"}
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    pub serve: Serve,
    /// Print an array of {"id","outcome","message","hint"}
    #[arg(long)]
    pub json: bool,
}
