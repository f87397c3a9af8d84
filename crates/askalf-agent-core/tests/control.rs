//! The control socket, both ends over a real one: a Unix socket, or a named pipe on Windows.
// Helpers of tests are not tests to clippy.
#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use askalf_agent_core::control::{self, ControlError, ControlOptions, MAX_LINE};
use askalf_agent_core::{AgentStatus, Command, State};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};

use local::{bind, connect, own_options};

const PATIENCE: Duration = Duration::from_secs(5);

struct Agent {
    folder: TempDir,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<AgentStatus>,
}

impl Agent {
    fn start(options: impl FnOnce(&mut ControlOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = bind(&folder.path().join("agent.sock")).unwrap();
        let (status, shown) = watch::channel(AgentStatus::starting("1.2.3", 7));
        let (sender, commands) = mpsc::channel(4);
        let mut control = own_options();
        options(&mut control);
        tokio::spawn(control::serve(listener, control, shown, sender));
        Self {
            folder,
            commands,
            status,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }
}

#[cfg(unix)]
mod local {
    use std::io;
    use std::path::Path;

    use askalf_agent_core::control::ControlOptions;
    use tokio::net::{UnixListener, UnixStream};

    pub(crate) fn bind(socket: &Path) -> io::Result<UnixListener> {
        UnixListener::bind(socket)
    }

    pub(crate) async fn connect(socket: &Path) -> io::Result<UnixStream> {
        UnixStream::connect(socket).await
    }

    pub(crate) fn own_options() -> ControlOptions {
        ControlOptions::new(own_uid())
    }

    /// The user of this process, as a socket pair sees it.
    pub(crate) fn own_uid() -> u32 {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.peer_cred().unwrap().uid()
    }
}

#[cfg(windows)]
mod local {
    use std::io;
    use std::path::Path;

    use askalf_agent_core::control::{ControlOptions, PipeListener, pipe_name};
    use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};

    pub(crate) fn bind(socket: &Path) -> io::Result<PipeListener> {
        PipeListener::bind(socket)
    }

    /// A client that finds every instance taken comes again.
    pub(crate) async fn connect(socket: &Path) -> io::Result<NamedPipeClient> {
        const PIPE_BUSY: i32 = 231;
        let name = pipe_name(socket)?;
        loop {
            match ClientOptions::new().open(&name) {
                Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn own_options() -> ControlOptions {
        ControlOptions::new()
    }
}

async fn say(socket: &Path, line: &[u8]) -> String {
    let mut stream = connect(socket).await.unwrap();
    // The server may answer and close before it has read everything.
    let _closed_early = stream.write_all(line).await;
    let mut answer = String::new();
    let _closed_early = BufReader::new(stream).read_line(&mut answer).await;
    answer
}

#[tokio::test]
async fn status_is_the_latest_one() {
    let agent = Agent::start(|_| ());
    agent.status.send_modify(|status| {
        status.state = State::Online;
        status.device_id = Some("dev_1".to_owned());
    });
    let status = control::status(&agent.socket(), PATIENCE).await.unwrap();
    assert_eq!(
        (status.state, status.device_id.as_deref()),
        (State::Online, Some("dev_1"))
    );
    let line = say(&agent.socket(), b"{\"request\":\"status\"}\n").await;
    for part in [
        r#""answer":"status""#,
        r#""state":"online""#,
        r#""since":7"#,
        r#""reason":"starting""#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test]
async fn stop_and_reload_reach_the_agent() {
    let mut agent = Agent::start(|_| ());
    control::reload(&agent.socket(), PATIENCE).await.unwrap();
    control::stop(&agent.socket(), PATIENCE).await.unwrap();
    assert_eq!(agent.commands.recv().await, Some(Command::CredentialChanged));
    assert_eq!(agent.commands.recv().await, Some(Command::Stop));
}

#[cfg(unix)]
#[tokio::test]
async fn another_user_is_refused_before_it_is_listened_to() {
    let own = local::own_uid();
    if own == 0 {
        return eprintln!("skipped: root may always speak");
    }
    let agent = Agent::start(|options| options.uid = own + 1);
    let error = control::stop(&agent.socket(), PATIENCE).await.unwrap_err();
    assert_eq!(
        (error.id(), error.to_string().as_str()),
        ("not-permitted", "the agent belongs to another user")
    );
    assert_eq!(agent.commands.len(), 0);
}

#[tokio::test]
async fn bad_requests_are_answered_and_bounded() {
    let agent = Agent::start(|_| ());
    for line in [
        &b"null\n"[..],
        b"{}\n",
        b"{\"request\":\"dance\"}\n",
        b"\xff\xfe\n",
        b"\n",
    ] {
        assert!(
            say(&agent.socket(), line).await.contains("request-unknown"),
            "{line:?}"
        );
    }
    let long = vec![b'x'; MAX_LINE];
    assert!(say(&agent.socket(), &long).await.contains("request-too-long"));
}

#[tokio::test]
async fn silent_clients_neither_stay_nor_keep_others_out() {
    let agent = Agent::start(|options| {
        options.clients = 1;
        options.patience = Duration::from_millis(50);
    });
    let mut silent = connect(&agent.socket()).await.unwrap();
    let status = control::status(&agent.socket(), PATIENCE).await.unwrap();
    assert_eq!(status.version, "1.2.3");
    let mut rest = Vec::new();
    // How a pipe on Windows ends.
    if let Err(error) = silent.read_to_end(&mut rest).await {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    assert!(rest.is_empty(), "it was closed without an answer");
}

#[tokio::test]
async fn without_an_agent_the_error_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    assert_eq!(
        control::status(&socket, PATIENCE).await,
        Err(ControlError::NotRunning)
    );
    drop(bind(&socket).unwrap());
    let stale = control::status(&socket, PATIENCE).await;
    assert_eq!(
        stale,
        Err(ControlError::NotRunning),
        "a socket that nobody listens on"
    );
}

#[cfg(windows)]
#[tokio::test]
#[ignore = "Wine lets a second process make the first instance of a pipe"]
async fn a_pipe_belongs_to_one_agent_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let first = bind(&socket).unwrap();
    let error = bind(&socket).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    drop(first);
    bind(&socket).unwrap();
}
