//! Whom tasks run as on this device, and what they have around them.

use std::ffi::OsString;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use askalf_agent_core::Runner;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
use askalf_exec::{CredentialPlace, ProcessRunner, TaskLimits, become_subreaper, scrubbed_environment};

use crate::environment;
#[cfg(target_os = "linux")]
use crate::service::systemd::installed;

/// Where tasks run.
#[derive(Debug, Clone)]
pub(crate) enum TaskPlace {
    /// Under runners that this process starts, as its own user.
    OwnUser,
    /// Under runners behind a socket, as another user.
    #[cfg(unix)]
    OtherUser(other_user::TaskUser),
}

impl TaskPlace {
    /// What `ASKALF_TASK_SOCKET` and `ASKALF_TASK_USER` say; the agent's own user where neither is set. One that cannot be
    /// followed is a failure, not the own user: somebody relies on the wall.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        Self::of(variable(SOCKET), variable(USER))
    }

    /// The same for a command about the agent of this home: where its own environment says nothing, the agent's service does.
    pub(crate) fn of_home(home: &Home) -> Result<Self, Failure> {
        let (socket, user) = (variable(SOCKET), variable(USER));
        #[cfg(target_os = "linux")]
        if (&socket, &user) == (&None, &None)
            && let Some(service) = installed(Path::new("/")).filter(|service| service.home == home.path())
        {
            let variable = |name| service.variable(name).map(OsString::from);
            return Self::of(variable(SOCKET), variable(USER));
        }
        let _ = home;
        Self::of(socket, user)
    }

    #[cfg(unix)]
    fn of(socket: Option<OsString>, user: Option<OsString>) -> Result<Self, Failure> {
        match (socket, user) {
            (None, None) => Ok(Self::OwnUser),
            (Some(socket), Some(user)) => {
                other_user::TaskUser::new(socket.into(), &user.to_string_lossy()).map(Self::OtherUser)
            }
            (Some(_), None) => Err(half(SOCKET, USER)),
            (None, Some(_)) => Err(half(USER, SOCKET)),
        }
    }

    #[cfg(not(unix))]
    fn of(socket: Option<OsString>, user: Option<OsString>) -> Result<Self, Failure> {
        match (socket, user) {
            (None, None) => Ok(Self::OwnUser),
            _ => Err(Failure::new(
                ExitCode::Configuration,
                format!("{SOCKET}: this system has no runners behind a socket"),
            )
            .hint(format!("unset {SOCKET} and {USER}"))),
        }
    }

    /// The user that tasks run as, where it is another than the agent's own.
    pub(crate) fn other_user(&self) -> Option<&str> {
        match self {
            Self::OwnUser => None,
            #[cfg(unix)]
            Self::OtherUser(user) => Some(user.name()),
        }
    }

    /// What starts programs within these limits. Where this process starts runners itself, it is from now on the one that adopts
    /// what a killed runner leaves behind.
    pub(crate) fn runner(&self, limits: &TaskLimits) -> Result<Arc<dyn Runner>, Failure> {
        match self {
            Self::OwnUser => own_runner(limits),
            #[cfg(unix)]
            Self::OtherUser(user) => Ok(user.runner(limits)),
        }
    }

    /// What of this process's environment a task may see, with the task user's own in the place of what tells of this one.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let environment = scrubbed_environment(std::env::vars_os());
        match self {
            Self::OwnUser => environment,
            #[cfg(unix)]
            Self::OtherUser(user) => user.environment(environment),
        }
    }

    /// Where a task runs that names no folder.
    pub(crate) fn folder(&self, home: &Home) -> PathBuf {
        match self {
            Self::OwnUser => environment::user_home().unwrap_or_else(|| home.path().to_owned()),
            #[cfg(unix)]
            Self::OtherUser(user) => user.home().to_owned(),
        }
    }

    /// Who hands credentials over to the tasks that they belong to.
    pub(crate) fn credentials(&self, home: &Home) -> CredentialPlace {
        match self {
            Self::OwnUser => CredentialPlace::Agent(credential_folders(home)),
            #[cfg(unix)]
            Self::OtherUser(_) => CredentialPlace::Runner,
        }
    }
}

/// Names the socket that runners are behind.
const SOCKET: &str = "ASKALF_TASK_SOCKET";
/// Names the user that they run as.
const USER: &str = "ASKALF_TASK_USER";

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// `state/run`: where credentials are while the tasks run that they belong to.
pub(crate) fn credential_folders(home: &Home) -> PathBuf {
    home.state_dir().join("run")
}

fn own_runner(limits: &TaskLimits) -> Result<Arc<dyn Runner>, Failure> {
    become_subreaper().map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!(
                "the system does not let the agent adopt processes: {}",
                error.kind()
            ),
        )
    })?;
    let runner = ProcessRunner::new(own_binary()?, vec!["runner".into()]);
    Ok(Arc::new(runner.limits(*limits)))
}

/// The running binary, whatever has become of its file since.
#[cfg(target_os = "linux")]
fn own_binary() -> Result<PathBuf, Failure> {
    Ok(PathBuf::from("/proc/self/exe"))
}

#[cfg(not(target_os = "linux"))]
fn own_binary() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|_| Failure::new(ExitCode::Failed, "the agent does not find its own binary"))
}

#[cfg(unix)]
fn half(set: &str, missing: &str) -> Failure {
    Failure::new(
        ExitCode::Configuration,
        format!("{set} is set and {missing} is not"),
    )
    .hint(
        "set both, to run tasks as another user behind a socket, or neither, to run them as the agent's own",
    )
}

#[cfg(unix)]
mod other_user {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use askalf_agent_core::Runner;
    use askalf_cli::{ExitCode, Failure};
    use askalf_exec::{SocketRunner, SocketRunnerOptions, TaskLimits};
    use nix::unistd::User;

    use super::{SOCKET, USER};

    /// Says whose environment it is; a temporary folder is the unit's to give.
    const REPLACED: [&str; 5] = ["HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"];

    /// The other user, as the system's list of users has it.
    #[derive(Debug, Clone)]
    pub(crate) struct TaskUser {
        socket: PathBuf,
        name: String,
        uid: u32,
        home: PathBuf,
        shell: PathBuf,
    }

    impl TaskUser {
        pub(super) fn new(socket: PathBuf, name: &str) -> Result<Self, Failure> {
            let failure = |problem: String| Failure::new(ExitCode::Configuration, problem);
            if !socket.is_absolute() {
                return Err(
                    failure(format!("{SOCKET}: {} is no absolute path", socket.display()))
                        .hint("name the socket from the root on"),
                );
            }
            let user = User::from_name(name)
                .map_err(|error| {
                    failure(format!(
                        "{USER}: the system's users cannot be read: {}",
                        error.desc()
                    ))
                })?
                .ok_or_else(|| {
                    failure(format!("{USER}: there is no user '{name}' for tasks to run as"))
                        .hint("'askalf-agent install-service' makes it")
                })?;
            Ok(Self {
                socket,
                name: user.name,
                uid: user.uid.as_raw(),
                home: user.dir,
                shell: user.shell,
            })
        }

        pub(super) fn name(&self) -> &str {
            &self.name
        }

        pub(super) fn home(&self) -> &Path {
            &self.home
        }

        pub(super) fn runner(&self, limits: &TaskLimits) -> Arc<dyn Runner> {
            Arc::new(SocketRunner::new(SocketRunnerOptions {
                socket: self.socket.clone(),
                user: self.name.clone(),
                uid: self.uid,
                limits: *limits,
            }))
        }

        pub(super) fn environment(&self, agents: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
            let mut environment = agents;
            environment.retain(|(name, _)| !REPLACED.iter().any(|replaced| name == replaced));
            let name = || OsString::from(&self.name);
            environment.extend([
                ("HOME".into(), self.home.clone().into()),
                ("USER".into(), name()),
                ("LOGNAME".into(), name()),
            ]);
            // A user that may not log in has one that refuses everything.
            if !["nologin", "false"].iter().any(|none| self.shell.ends_with(none)) {
                environment.push(("SHELL".into(), self.shell.clone().into()));
            }
            environment
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_task_sees_the_task_users_names_and_nothing_of_the_agents() {
            let user = TaskUser {
                socket: "/run/askalf-agent/task.sock".into(),
                name: "tasks".into(),
                uid: 7,
                home: "/var/lib/tasks".into(),
                shell: "/usr/sbin/nologin".into(),
            };
            let agents = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG"]
                .map(|name| (name.into(), "agent".into()));
            let shown = |user: &TaskUser| {
                let environment = user.environment(agents.to_vec());
                let lines = environment
                    .iter()
                    .map(|(name, value)| format!("{}={}", name.display(), value.display()));
                lines.collect::<Vec<_>>().join(" ")
            };
            let without_shell = "PATH=agent LANG=agent HOME=/var/lib/tasks USER=tasks LOGNAME=tasks";
            assert_eq!(shown(&user), without_shell);
            let user = TaskUser {
                shell: "/bin/dash".into(),
                ..user
            };
            assert_eq!(shown(&user), format!("{without_shell} SHELL=/bin/dash"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_socket_tasks_run_as_the_agents_user() {
        let place = TaskPlace::of(None, None).unwrap();
        assert!(matches!(place, TaskPlace::OwnUser));
        assert_eq!(place.other_user(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_wall_that_is_half_set_up_is_refused() {
        let refused = |socket: Option<&str>, user: Option<&str>| {
            let failure = TaskPlace::of(socket.map(Into::into), user.map(Into::into)).unwrap_err();
            assert!(failure.hint_text().is_some(), "{failure}");
            failure.to_string()
        };
        assert_eq!(
            refused(Some("/run/t"), None),
            "ASKALF_TASK_SOCKET is set and ASKALF_TASK_USER is not"
        );
        assert_eq!(
            refused(None, Some("nobody")),
            "ASKALF_TASK_USER is set and ASKALF_TASK_SOCKET is not"
        );
        assert_eq!(
            refused(Some("run/t"), Some("nobody")),
            "ASKALF_TASK_SOCKET: run/t is no absolute path"
        );
        assert_eq!(
            refused(Some("/run/t"), Some("no-such-user-here")),
            "ASKALF_TASK_USER: there is no user 'no-such-user-here' for tasks to run as"
        );
    }
}
