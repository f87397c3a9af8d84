//! The units of systemd that runners come from: a socket that only the daemon may open, and a service that is started anew for
//! each connection, as a user of its own and in a sandbox of its own. They are the wall between tasks and the credential.

use std::fmt::Write as _;
use std::path::Path;

/// File name of the socket's unit.
pub(crate) const SOCKET_UNIT: &str = "askalf-task.socket";
/// File name of the template that each connection starts an instance of.
pub(crate) const SERVICE_UNIT: &str = "askalf-task@.service";
/// The socket. Its folder is root's and not a `RuntimeDirectory` of the daemon, with which it would come and go.
pub(crate) const SOCKET_PATH: &str = "/run/askalf-agent/task.sock";
/// The user that tasks run as, and its group.
pub(crate) const TASK_USER: &str = "askalf-task";
/// That user's home: the folder of a task that names none.
pub(crate) const TASK_HOME: &str = "/var/lib/askalf-task";

/// Processes and threads of one task, where nothing else is set: far above what builds need, far below what hurts a device.
pub(crate) const DEFAULT_TASKS_MAX: u32 = 1024;

/// What tasks may do to the machine, beside what their user may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskProfile {
    /// The system is read-only and other users' homes are not there; no privilege can be gained; no namespaces, no container
    /// engine. Tasks write to their own home and a private `/tmp`, and reach the network.
    Strict,
    /// The system's programs and settings are read-only, and so are homes; no privilege can be gained. A container engine is
    /// reached where the task user is of its group, which is as good as root.
    Standard,
    /// The task user's own rights and nothing else between: `sudo` works as far as its rules let that user.
    Unconfined,
}

/// What the units are made from.
#[derive(Debug, Clone)]
pub(crate) struct TaskUnits<'a> {
    /// The agent's binary, an absolute path.
    pub(crate) binary: &'a Path,
    /// User that the daemon runs as: the only one, beside root, that a runner serves.
    pub(crate) agent_user: &'a str,
    /// Group that may open the socket: the daemon's, and nobody else's.
    pub(crate) agent_group: &'a str,
    /// The daemon's home, which no task may look into.
    pub(crate) agent_home: &'a Path,
    /// How far tasks are shut in.
    pub(crate) profile: TaskProfile,
    /// Most processes and threads of one task.
    pub(crate) tasks_max: u32,
    /// Most memory of one task in MiB, page cache included; none where it is absent.
    pub(crate) memory_max_mb: Option<u64>,
}

/// Environment of the daemon, by which it finds its runners.
pub(crate) fn daemon_environment() -> [(&'static str, &'static str); 2] {
    [
        ("ASKALF_TASK_SOCKET", SOCKET_PATH),
        ("ASKALF_TASK_USER", TASK_USER),
    ]
}

impl TaskUnits<'_> {
    /// Text of [`SOCKET_UNIT`].
    pub(crate) fn socket(&self) -> String {
        // A burst of tasks must not end the socket, as the default of 200 starts within 2 s would.
        format!(
            "\
[Unit]
Description=Socket for the tasks of the askalf device agent

[Socket]
ListenStream={SOCKET_PATH}
Accept=yes
SocketUser=root
SocketGroup={group}
SocketMode=0660
DirectoryMode=0755
RemoveOnStop=yes
MaxConnections=256
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
",
            group = self.agent_group,
        )
    }

    /// Text of [`SERVICE_UNIT`].
    pub(crate) fn service(&self) -> String {
        let mut text = format!(
            "\
[Unit]
Description=Task of the askalf device agent
CollectMode=inactive-or-failed

[Service]
ExecStart={binary} runner --agent-user {agent}
User={TASK_USER}
Group={TASK_USER}
# The connection to the daemon. Its end ends the task.
StandardInput=socket
StandardOutput=null
StandardError=journal
# The runner ends its tree by itself; what it leaves when it is killed goes at once.
KillMode=mixed
TimeoutStopSec=30
# Above the longest run of a task.
RuntimeMaxSec=25h
# Credentials of this one task; gone with it, whatever ends it.
RuntimeDirectory=askalf-task/%i
RuntimeDirectoryMode=0700
StateDirectory=askalf-task
StateDirectoryMode=0700
LimitCORE=0
OOMPolicy=kill
OOMScoreAdjust=500
TasksMax={tasks_max}
",
            binary = self.binary.display(),
            agent = self.agent_user,
            tasks_max = self.tasks_max,
        );
        if let Some(memory) = self.memory_max_mb {
            // Infallible: the target is a string.
            let _written = writeln!(text, "MemoryMax={memory}M");
        }
        match self.profile {
            TaskProfile::Unconfined => {}
            TaskProfile::Standard => text.push_str(STANDARD),
            TaskProfile::Strict => {
                text.push_str(STANDARD);
                text.push_str(STRICT);
            }
        }
        if self.profile != TaskProfile::Unconfined {
            let _written = writeln!(text, "InaccessiblePaths=-{}", self.agent_home.display());
        }
        text
    }
}

/// `PrivateUsers` stands nowhere: with it the runner could not see who the daemon is.
const STANDARD: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
";

/// A later line of a setting counts. `MemoryDenyWriteExecute` stands nowhere: JavaScript engines need both.
const STRICT: &str = "\
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
DevicePolicy=closed
RemoveIPC=yes
UMask=0077
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
InaccessiblePaths=-/run/docker.sock -/run/containerd -/run/podman
";

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [TaskProfile; 3] = [
        TaskProfile::Strict,
        TaskProfile::Standard,
        TaskProfile::Unconfined,
    ];

    fn units(profile: TaskProfile) -> TaskUnits<'static> {
        TaskUnits {
            binary: Path::new("/usr/bin/askalf-agent"),
            agent_user: "askalf-agent",
            agent_group: "askalf-agent",
            agent_home: Path::new("/var/lib/askalf-agent"),
            profile,
            tasks_max: DEFAULT_TASKS_MAX,
            memory_max_mb: None,
        }
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn the_socket_is_the_daemons_group_and_roots_alone() {
        let text = units(TaskProfile::Standard).socket();
        for line in [
            "ListenStream=/run/askalf-agent/task.sock",
            "Accept=yes",
            "SocketUser=root",
            "SocketGroup=askalf-agent",
            "SocketMode=0660",
        ] {
            assert!(has(&text, line), "{line}\n{text}");
        }
    }

    #[test]
    fn under_every_profile_a_task_is_its_own_user_with_limits_and_nothing_outlives_it() {
        for profile in PROFILES {
            let text = units(profile).service();
            for line in [
                "ExecStart=/usr/bin/askalf-agent runner --agent-user askalf-agent",
                "User=askalf-task",
                "StandardInput=socket",
                "StandardOutput=null",
                "KillMode=mixed",
                "RuntimeDirectory=askalf-task/%i",
                "TasksMax=1024",
            ] {
                assert!(has(&text, line), "{profile:?}: {line}\n{text}");
            }
            assert!(!text.contains("MemoryMax"), "{text}");
            assert!(!text.contains("PrivateUsers"), "{text}");
        }
        let limited = TaskUnits {
            tasks_max: 64,
            memory_max_mb: Some(512),
            ..units(TaskProfile::Unconfined)
        };
        let text = limited.service();
        assert!(
            has(&text, "MemoryMax=512M") && has(&text, "TasksMax=64"),
            "{text}"
        );
    }

    #[test]
    fn each_profile_shuts_in_what_the_next_one_does_and_more() {
        let settings = |profile| {
            let text = units(profile).service();
            let names = text.lines().filter_map(|line| line.split_once('='));
            names
                .map(|(name, _)| name.to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let [strict, standard, unconfined] = PROFILES.map(settings);
        assert!(strict.is_superset(&standard) && standard.is_superset(&unconfined));
        assert!(strict.len() > standard.len() && standard.len() > unconfined.len());
        let home = "InaccessiblePaths=-/var/lib/askalf-agent";
        let shuts_home = PROFILES.map(|profile| has(&units(profile).service(), home));
        assert_eq!(shuts_home, [true, true, false]);
    }
}
