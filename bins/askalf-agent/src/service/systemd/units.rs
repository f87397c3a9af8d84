//! The text of the units. No secret stands in one: everybody on the machine can read them.

use std::path::Path;

use super::unit_text::{program, quoted};
use super::{Profile, SANDBOX, SERVICE, SERVICE_HOME, SERVICE_USER, Scope};
use crate::service::task_units::{
    DEFAULT_TASKS_MAX, SERVICE_UNIT, SOCKET_UNIT, TASK_USER, TaskProfile, TaskUnits, daemon_environment,
};

/// The first line of a unit of ours, which tells it from those of other agents.
pub(super) const MARK: &str = "# Made by 'askalf-agent install-service', which replaces it.";

/// The first line of a unit of a package.
const PACKAGE_MARK: &str = "# Of the package askalf-agent, which replaces it.";

/// A unit as it is written.
#[derive(Debug)]
pub(super) struct UnitFile {
    pub name: &'static str,
    pub text: String,
}

impl UnitFile {
    /// What the service of the system is made of.
    pub(super) const NAMES: [&'static str; 3] = [SERVICE, SOCKET_UNIT, SERVICE_UNIT];
    /// Whom it runs as.
    pub(super) const USERS: [&'static str; 2] = [SERVICE_USER, TASK_USER];

    /// Those that a package brings, with its program in `/usr/bin`.
    pub(super) fn of_a_package() -> [Self; 3] {
        let binary = Path::new("/usr/bin").join(crate::NAME);
        Self::of_the_system(&binary, Path::new(SERVICE_HOME), Profile::default()).map(|unit| Self {
            name: unit.name,
            text: unit.text.replacen(MARK, PACKAGE_MARK, 1),
        })
    }

    /// The units of the service of the system.
    pub(super) fn of_the_system(binary: &Path, home: &Path, profile: Profile) -> [Self; 3] {
        let daemon = DaemonUnit {
            scope: Scope::System,
            binary,
            home,
            profile,
        };
        let tasks = TaskUnits {
            binary,
            agent_user: SERVICE_USER,
            agent_group: SERVICE_USER,
            agent_home: home,
            profile: match profile {
                Profile::Strict => TaskProfile::Strict,
                Profile::Standard => TaskProfile::Standard,
                Profile::Unconfined => TaskProfile::Unconfined,
            },
            tasks_max: DEFAULT_TASKS_MAX,
            memory_max_mb: None,
        };
        [
            (SERVICE, daemon.text()),
            (SOCKET_UNIT, format!("{MARK}\n{}", tasks.socket())),
            (SERVICE_UNIT, format!("{MARK}\n{}", tasks.service())),
        ]
        .map(|(name, text)| Self { name, text })
    }
}

/// The unit of the daemon. It starts no task itself where it is the system's, and so needs little whatever tasks may do.
#[derive(Debug)]
pub(super) struct DaemonUnit<'a> {
    pub scope: Scope,
    pub binary: &'a Path,
    pub home: &'a Path,
    pub profile: Profile,
}

impl DaemonUnit<'_> {
    pub(super) fn text(&self) -> String {
        let Self {
            scope,
            binary,
            home,
            profile,
        } = self;
        let (identity, sandbox, target) = match scope {
            Scope::System => (
                format!(
                    "User={SERVICE_USER}\nGroup={SERVICE_USER}\nStateDirectory={SERVICE_USER}\nStateDirectoryMode=0700\n{}",
                    daemon_environment()
                        .map(|(name, value)| format!("Environment={name}={value}\n"))
                        .concat()
                ),
                SANDBOX,
                "multi-user.target",
            ),
            Scope::User => (String::new(), profile.user_settings(), "default.target"),
        };
        let home = quoted(&format!("ASKALF_HOME={}", home.display()));
        let binary = program(&binary.display().to_string());
        // A manager of a user knows no targets of the system.
        let order = match scope {
            Scope::System => {
                format!("Wants={SOCKET_UNIT}\nAfter=network.target nss-lookup.target {SOCKET_UNIT}\n")
            }
            Scope::User => String::new(),
        };
        format!(
            "{MARK}
# Settings of your own go into files of askalf-agent.service.d beside it: see 'systemctl edit'. Profile of the tasks: {profile}.

[Unit]
Description=askalf device agent
{order}# A device comes back by itself, however often it failed.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{identity}Environment={home}
ExecStart={binary} daemon
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2s
WatchdogSec=90s
TimeoutStartSec=60s
TimeoutStopSec=30s
# The agent first: it ends its tasks and reports them.
KillMode=mixed
# A task that takes too much memory ends alone.
OOMPolicy=continue
LimitCORE=0
UMask=0077
{sandbox}
[Install]
WantedBy={target}
",
            profile = profile.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    const PROFILES: [Profile; 3] = [Profile::Strict, Profile::Standard, Profile::Unconfined];

    fn system(binary: &str, profile: Profile) -> [UnitFile; 3] {
        UnitFile::of_the_system(binary.as_ref(), "/var/lib/askalf-agent".as_ref(), profile)
    }

    #[test]
    fn a_packages_units_differ_from_installed_ones_in_mark_and_program_alone() {
        let packaged = UnitFile::of_a_package();
        let binary = Path::new("/usr/local/bin/askalf-agent");
        let installed = UnitFile::of_the_system(binary, Path::new(SERVICE_HOME), Profile::default());
        for (packaged, installed) in packaged.iter().zip(&installed) {
            assert_eq!(packaged.name, installed.name);
            assert!(!packaged.text.contains("install-service"), "{}", packaged.text);
            assert_eq!(
                packaged.text.replacen(PACKAGE_MARK, MARK, 1),
                installed.text.replace("/usr/local/bin/", "/usr/bin/")
            );
        }
        assert!(
            packaged[0]
                .text
                .contains("ExecStart=/usr/bin/askalf-agent daemon\n")
        );
    }

    #[test]
    fn the_units_of_the_system_are_the_golden_ones() {
        let golden = [
            [
                include_str!("golden/strict.service"),
                include_str!("golden/task.socket"),
                include_str!("golden/task-strict.service"),
            ],
            [
                include_str!("golden/standard.service"),
                include_str!("golden/task.socket"),
                include_str!("golden/task-standard.service"),
            ],
            [
                include_str!("golden/unconfined.service"),
                include_str!("golden/task.socket"),
                include_str!("golden/task-unconfined.service"),
            ],
        ];
        for (profile, golden) in PROFILES.into_iter().zip(golden) {
            for (unit, golden) in system("/usr/local/bin/askalf-agent", profile).iter().zip(golden) {
                assert_eq!(unit.text, golden, "{} {profile:?}", unit.name);
            }
        }
    }

    #[test]
    fn a_users_unit_is_the_golden_one_and_its_paths_may_hold_anything() {
        let text = DaemonUnit {
            scope: Scope::User,
            binary: "/home/ann lee/.local/bin/askalf-agent".as_ref(),
            home: "/home/ann lee/100%/.askalf".as_ref(),
            profile: Profile::Standard,
        }
        .text();
        assert_eq!(text, include_str!("golden/user-standard.service"));
    }

    #[test]
    fn systemd_finds_no_fault_in_them() {
        let analyze = || Command::new("systemd-analyze");
        if analyze().arg("--version").output().is_err() {
            println!("not run: systemd-analyze verify, which is not on this machine");
            return;
        }
        for profile in PROFILES {
            let folder = tempfile::tempdir().unwrap();
            // A program that is there, whatever is installed here.
            let units = system("/bin/true", profile);
            let users = DaemonUnit {
                scope: Scope::User,
                binary: "/bin/true".as_ref(),
                home: "/home/ann/.askalf".as_ref(),
                profile,
            };
            let user_unit = UnitFile {
                name: "askalf-agent-of-a-user.service",
                text: users.text(),
            };
            for unit in units.iter().chain([&user_unit]) {
                let path: PathBuf = folder.path().join(unit.name);
                std::fs::write(&path, &unit.text).unwrap();
            }
            for unit in units.iter().chain([&user_unit]) {
                let output = analyze()
                    .args(["verify", "--man=no"])
                    .arg(folder.path().join(unit.name))
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                // Units of this machine may have faults of their own.
                let ours: Vec<&str> = said.lines().filter(|line| line.contains("askalf")).collect();
                assert!(ours.is_empty(), "{} {profile:?}: {said}", unit.name);
            }
        }
    }
}
