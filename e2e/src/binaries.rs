//! Where the two binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

/// The binaries under test.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `askalf-agent`
    pub agent: PathBuf,
    /// `askalf-bridge`
    pub bridge: PathBuf,
}

impl Binaries {
    /// The binaries in a folder.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let found = |name: &str| {
            let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
            if path.is_file() {
                Ok(path)
            } else {
                Err(anyhow!("{} is not there", path.display()))
            }
        };
        Ok(Self {
            agent: found("askalf-agent")?,
            bridge: found("askalf-bridge")?,
        })
    }
}

/// The binaries in `ASKALF_TEST_BIN_DIR`; where it is not set, they are built with the profile and into the folder of
/// the test that asks.
///
/// # Errors
/// They cannot be built or found.
pub fn binaries() -> Result<&'static Binaries> {
    static FOUND: OnceLock<Result<Binaries, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.as_ref().map_err(|error| anyhow!("{error}"))
}

fn find() -> Result<Binaries> {
    if let Some(folder) = std::env::var_os("ASKALF_TEST_BIN_DIR") {
        return Binaries::in_folder(Path::new(&folder)).context("ASKALF_TEST_BIN_DIR");
    }
    // A test runs as TARGET/PROFILE/deps/NAME-HASH.
    let test = std::env::current_exe()?;
    let profile_folder = test
        .ancestors()
        .nth(2)
        .context("the test is in no target folder")?;
    let target = profile_folder
        .parent()
        .context("the test is in no target folder")?;
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .current_dir(workspace_root()?)
        .status()
        .context("cargo cannot be run to build the binaries")?;
    if !built.success() {
        bail!("the binaries do not build");
    }
    Binaries::in_folder(profile_folder)
}

/// The root of the workspace.
///
/// # Errors
/// This crate was moved out of it.
pub fn workspace_root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("e2e stands in no workspace")
}
