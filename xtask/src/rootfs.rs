//! A small Debian with systemd, to boot, to install into and to look at afterwards. Made once by debootstrap and kept in the
//! user's cache folder; whoever changes one changes a copy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tools::{self, Tool};

/// The release. Programs that are built here must find a C library there that is not older than the one here.
const SUITE: &str = "bookworm";

/// Beside the smallest system: what boots, what shows processes and interfaces, and what tasks of the tests use.
const PACKAGES: &str = "systemd,systemd-sysv,libpam-systemd,dbus,dbus-user-session,procps,iproute2,git";

/// Goes up with every change of what is in it, so that a kept one is not taken for the new one.
const VERSION: u32 = 2;

/// What must be there to make one and to boot it.
pub(crate) fn tools() -> Vec<Tool> {
    tools::containers()
}

/// The folder of the system that is kept. It is made where it is not there: minutes, and root's right.
pub(crate) fn kept() -> Result<PathBuf> {
    let cache = cache_folder()?;
    let kept = cache.join(format!("rootfs-{SUITE}-{VERSION}"));
    if kept.is_dir() {
        return Ok(kept);
    }
    std::fs::create_dir_all(&cache)?;
    println!(
        "Making a root file system in {} (a minute or two) ...",
        kept.display()
    );
    // In place only when it is whole.
    let making = cache.join(format!("rootfs-making-{}", std::process::id()));
    let made = run(Command::new("debootstrap")
        .arg("--variant=minbase")
        .arg(format!("--include={PACKAGES}"))
        .args([SUITE.as_ref(), making.as_os_str()]));
    if let Err(error) = made {
        remove(&making);
        return Err(error);
    }
    std::fs::rename(&making, &kept)?;
    Ok(kept)
}

/// A copy that may be changed, and that is removed with its owner.
#[derive(Debug)]
pub(crate) struct RootFs {
    folder: PathBuf,
}

impl RootFs {
    /// A fresh copy of the kept system; `name` is also its host name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let kept = kept()?;
        sweep()?;
        let folder = cache_folder()?.join(format!("run-{}-{name}", std::process::id()));
        let copy = Self { folder };
        run(Command::new("cp")
            .args(["-a", "--reflink=auto", "--"])
            .args([&kept, &copy.folder]))?;
        std::fs::write(copy.folder.join("etc/hostname"), format!("{name}\n"))?;
        std::fs::write(
            copy.folder.join("etc/hosts"),
            format!("127.0.0.1 localhost {name}\n"),
        )?;
        Ok(copy)
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts a program into it.
    pub(crate) fn add_program(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.folder.join(to.trim_start_matches('/'));
        run(Command::new("install")
            .args(["-D", "-m", "755", "--"])
            .args([from, &to]))
    }

    /// Runs a command in it without booting it, as root; an error where it fails. Yields its standard output.
    #[allow(dead_code, reason = "for tests of packages")]
    pub(crate) fn chroot(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("chroot")
            .arg(&self.folder)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("chroot cannot be run")?;
        ensure!(
            output.status.success(),
            "{} failed in the root file system: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for RootFs {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes what runs left behind that were killed.
fn sweep() -> Result<()> {
    for entry in std::fs::read_dir(cache_folder()?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("run-").and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Never into what is mounted below.
fn remove(folder: &Path) {
    let _left = run(Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(folder));
}

fn cache_folder() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    let cache = match named {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()
            .context("there is no home folder to keep a root file system in")?
            .join(".cache"),
    };
    Ok(cache.join("askalf"))
}

/// Runs a command to its end; an error shows what it wrote.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    let last: Vec<u8> = output.stdout.iter().chain(&output.stderr).copied().collect();
    let text = String::from_utf8_lossy(&last);
    let from = text.len().saturating_sub(2_000);
    ensure!(
        output.status.success(),
        "{name} failed: {}",
        text.get(from..).unwrap_or(&text).trim()
    );
    Ok(())
}
