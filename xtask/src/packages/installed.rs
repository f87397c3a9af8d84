//! Packages in a Debian that is not booted: what each step adds, changes and leaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use askalf_e2e::KEY;

use super::listing::{self, Listing, added, changed};
use super::{Made, name, say};
use crate::rootfs::RootFs;

/// The accounts of the system, and the copies that its tools make of them.
const ACCOUNTS: [&str; 11] = [
    "etc/group",
    "etc/group-",
    "etc/gshadow",
    "etc/gshadow-",
    "etc/passwd",
    "etc/passwd-",
    "etc/shadow",
    "etc/shadow-",
    "etc/subgid",
    "etc/subuid",
    "etc/.pwd.lock",
];

/// What an installation makes that no package contains.
const MADE: [&str; 15] = [
    "etc/systemd/system/multi-user.target.wants/askalf-agent.service",
    "etc/systemd/system/multi-user.target.wants/askalf-bridge.service",
    "etc/systemd/system/sockets.target.wants",
    "etc/systemd/system/sockets.target.wants/askalf-task.socket",
    "var/lib/askalf-agent",
    "var/lib/askalf-bridge",
    "var/lib/systemd/deb-systemd-helper-enabled",
    "var/lib/systemd/deb-systemd-helper-enabled/askalf-agent.service.dsh-also",
    "var/lib/systemd/deb-systemd-helper-enabled/askalf-bridge.service.dsh-also",
    "var/lib/systemd/deb-systemd-helper-enabled/askalf-task.socket.dsh-also",
    "var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants",
    "var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/askalf-agent.service",
    "var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/askalf-bridge.service",
    "var/lib/systemd/deb-systemd-helper-enabled/sockets.target.wants",
    "var/lib/systemd/deb-systemd-helper-enabled/sockets.target.wants/askalf-task.socket",
];

/// Folders that Debian's helper for units makes, which are not a package's to take away. They are empty.
const HELPERS: [&str; 3] = [
    "etc/systemd/system/sockets.target.wants",
    "var/lib/systemd/deb-systemd-helper-enabled",
    "var/lib/systemd/deb-systemd-helper-masked",
];

const DEFAULTS: &str = "etc/default/askalf-bridge";

const CREDENTIAL: [&str; 2] = ["var/lib/askalf-agent/agent.json", "var/lib/askalf-agent/keyfile"];

pub(super) fn test(made: &Made) -> Result<()> {
    let [first, second] = made.debs()?;
    let root = RootFs::new("packages")?;
    for deb in first.iter().chain(&second) {
        let to = root.path().join("packages").join(name(deb));
        fs::create_dir_all(root.path().join("packages"))?;
        fs::copy(deb, to)?;
    }
    let system = System { root };
    let before = system.list()?;

    system.dpkg("--install", &first)?;
    let installed = system.list()?;
    let contained = system.contained(&first)?;
    let mut promised: BTreeSet<String> = contained.iter().chain(&owned(&MADE)).cloned().collect();
    promised.retain(|path| !before.contains_key(path));
    let came: BTreeSet<String> = added(&before, &installed)
        .into_iter()
        .filter(|path| not_an_account(path))
        .collect();
    same("an installation adds", &came, &promised)?;
    only_accounts("an installation changes", &changed(&before, &installed))?;
    say(&format!(
        "installed: {} files and folders more, those of the packages and {} that the installation makes",
        came.len(),
        came.difference(&contained.iter().cloned().collect()).count()
    ));
    system.programs_run()?;
    system.pair()?;
    fs::write(system.path(DEFAULTS), "# mine\n")?;
    let paired = system.list()?;

    system.dpkg("--install", &second)?;
    let upgraded = system.list()?;
    ensure!(
        system.version("askalf-agent")?.ends_with("+t2"),
        "the upgrade is not there"
    );
    kept(&paired, &upgraded, "an upgrade")?;
    same(
        "an upgrade adds",
        &set(added(&paired, &upgraded)),
        &BTreeSet::new(),
    )?;
    same(
        "an upgrade removes",
        &set(added(&upgraded, &paired)),
        &BTreeSet::new(),
    )?;
    say("upgraded: credential, its owner and the changed configuration are the same");

    system.dpkg("--remove", &names())?;
    let removed = system.list()?;
    kept(&paired, &removed, "a removal")?;
    let stays: BTreeSet<String> = set(added(&before, &removed))
        .into_iter()
        .filter(|path| not_an_account(path))
        .collect();
    let mut may_stay: BTreeSet<String> = set(owned(&MADE));
    may_stay.extend(
        paired
            .keys()
            .filter(|path| path.starts_with("var/lib/askalf-"))
            .cloned(),
    );
    may_stay.insert(DEFAULTS.to_owned());
    may_stay.retain(|path| !before.contains_key(path));
    same("a removal leaves", &stays, &may_stay)?;
    say(&format!(
        "removed: {} stay, the credential and the changed configuration among them",
        stays.len()
    ));

    system.dpkg("--install", &second)?;
    let again = system.list()?;
    kept(&paired, &again, "a new installation")?;
    system.agent(&["cred", "verify"], "")?;
    say("installed again: the key unseals");

    system.dpkg("--purge", &names())?;
    let purged = system.list()?;
    let left: BTreeSet<String> = set(added(&before, &purged))
        .into_iter()
        .filter(|path| not_an_account(path))
        .collect();
    let others: Vec<_> = left
        .iter()
        .filter(|path| !HELPERS.contains(&path.as_str()))
        .collect();
    ensure!(others.is_empty(), "a purge leaves {others:?}");
    same(
        "a purge takes away",
        &set(added(&purged, &before)),
        &BTreeSet::new(),
    )?;
    let accounts = fs::read_to_string(system.path("etc/passwd"))?;
    ensure!(!accounts.contains("askalf"), "a purge leaves users: {accounts}");
    only_accounts("a purge changes", &changed(&before, &purged))?;
    say("purged: nothing of it is left, user and home included");
    Ok(())
}

fn names() -> [std::path::PathBuf; 2] {
    ["askalf-agent".into(), "askalf-bridge".into()]
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn set(paths: Vec<String>) -> BTreeSet<String> {
    paths.into_iter().collect()
}

fn not_an_account(path: &str) -> bool {
    !ACCOUNTS.contains(&path)
}

fn same(what: &str, found: &BTreeSet<String>, promised: &BTreeSet<String>) -> Result<()> {
    let more: Vec<_> = found.difference(promised).collect();
    let fewer: Vec<_> = promised.difference(found).collect();
    ensure!(
        more.is_empty() && fewer.is_empty(),
        "{what} what was not promised: {more:?}, and not what was: {fewer:?}"
    );
    Ok(())
}

/// Folders change with what is in them in no way that is listed.
fn only_accounts(what: &str, paths: &[String]) -> Result<()> {
    let others: Vec<_> = paths.iter().filter(|path| not_an_account(path)).collect();
    ensure!(others.is_empty(), "{what} {others:?}");
    Ok(())
}

/// That the credential and the configuration are byte for byte what they were, with owner and mode.
fn kept(before: &Listing, after: &Listing, what: &str) -> Result<()> {
    for path in CREDENTIAL.iter().chain([&DEFAULTS]) {
        let old = before
            .get(*path)
            .with_context(|| format!("{path} was not there before {what}"))?;
        ensure!(after.get(*path) == Some(old), "{what} changed {path}");
    }
    Ok(())
}

/// A Debian with packages.
struct System {
    root: RootFs,
}

impl System {
    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn list(&self) -> Result<Listing> {
        listing::of(self.root.path())
    }

    fn dpkg(&self, act: &str, packages: &[std::path::PathBuf; 2]) -> Result<()> {
        let packages = packages.each_ref().map(|package| match act {
            "--install" => format!("/packages/{}", name(package)),
            _ => name(package),
        });
        let [one, other] = &packages;
        self.root.chroot(&["dpkg", act, one, other]).map(drop)
    }

    /// What the packages contain.
    fn contained(&self, packages: &[std::path::PathBuf; 2]) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for package in packages {
            let listed = self.root.chroot(&["dpkg", "--listfiles", &package_of(package)])?;
            paths.extend(
                listed
                    .lines()
                    .map(|line| line.trim_start_matches('/').to_owned())
                    .filter(|path| !path.is_empty() && path != "."),
            );
        }
        Ok(paths)
    }

    fn version(&self, package: &str) -> Result<String> {
        self.root
            .chroot(&["dpkg-query", "--show", "--showformat=${Version}", package])
    }

    fn programs_run(&self) -> Result<()> {
        for program in ["askalf-agent", "askalf-bridge"] {
            let said = self.root.chroot(&[program, "--version"])?;
            ensure!(
                said.trim() == format!("{program} {}", env!("CARGO_PKG_VERSION")),
                "{program} --version says {said:?}"
            );
            let unit = format!("/usr/lib/systemd/system/{program}.service");
            self.root
                .chroot(&["systemd-analyze", "verify", "--man=no", &unit])?;
        }
        Ok(())
    }

    /// Gives the agent a key, as its user.
    fn pair(&self) -> Result<()> {
        let url = "ws://127.0.0.1:9";
        self.agent(
            &["pair", "-", "--no-verify", "--url", url, "--name", "package"],
            KEY,
        )?;
        for path in CREDENTIAL {
            ensure!(self.path(path).exists(), "pair has not made {path}");
        }
        self.agent(&["cred", "verify"], "")
    }

    fn agent(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = Command::new("chroot");
        command
            .arg("--userspec=askalf-agent:askalf-agent")
            .arg(self.root.path())
            .args([
                "/usr/bin/env",
                "-i",
                "ASKALF_HOME=/var/lib/askalf-agent",
                "askalf-agent",
            ])
            .args(arguments);
        askalf_e2e::run("askalf-agent", &mut command, input.as_bytes())?.expect_code(0)?;
        Ok(())
    }
}

fn package_of(deb: &Path) -> String {
    let name = name(deb);
    name.split_once('_')
        .map_or(name.clone(), |(package, _)| package.to_owned())
}
