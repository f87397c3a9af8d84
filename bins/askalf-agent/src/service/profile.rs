//! How much of the system a service may reach.

/// What tasks may do. The daemon of the system is always shut in: it starts no task itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Profile {
    /// The system is read-only, home folders, devices and container engines are out of reach
    Strict,
    /// The system's own folders and home folders are read-only, and no new rights can be had
    #[default]
    Standard,
    /// What the task's user may do, and nothing less
    Unconfined,
}

/// What the daemon of the system may do. Not here, and why: `ProtectHostname` would show it the name of its start for ever;
/// `ProtectProc` would hide root's processes from the check that an approval comes from none of the agent's own; `PrivateUsers`
/// would hide that it is root who asks.
pub(super) const SANDBOX: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RemoveIPC=yes
KeyringMode=private
";

impl Profile {
    /// The word of the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Standard => "standard",
            Self::Unconfined => "unconfined",
        }
    }

    /// The settings of a user's service, which runs its tasks itself: a manager without rights can do no more.
    pub(super) fn user_settings(self) -> &'static str {
        match self {
            Self::Strict => {
                "NoNewPrivileges=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nLockPersonality=yes\n\
                 SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n"
            }
            Self::Standard => "NoNewPrivileges=yes\nLockPersonality=yes\nSystemCallArchitectures=native\n",
            Self::Unconfined => "",
        }
    }
}
