//! Runners of another user behind a socket, as a service manager gives them: one process for each connection, which it has as
//! its standard input.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::binaries::{Binaries, binaries};

/// The user that agents run as here, by name and number. Both are on every Unix system.
pub const AGENT_USER: (&str, u32) = ("daemon", 1);
/// The user that tasks run as.
pub const TASK_USER: (&str, u32) = ("bin", 2);

/// A folder that holds an agent's home, the socket and a folder for secrets, each its user's alone. Needs root.
#[derive(Debug)]
pub struct TaskWall {
    folder: tempfile::TempDir,
    binaries: Binaries,
}

impl TaskWall {
    /// A new one, with no agent and no runners yet. `None` where the test is not root, who alone can start processes of others.
    ///
    /// # Errors
    /// The folder or the binaries cannot be made.
    pub fn new() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        let built = binaries()?;
        // Where it was built need not be open to other users.
        let agent = folder.path().join("askalf-agent");
        fs::hard_link(&built.agent, &agent)
            .or_else(|_| fs::copy(&built.agent, &agent).map(drop))
            .context("the binary cannot be put where other users find it")?;
        let wall = Self {
            binaries: Binaries {
                agent,
                bridge: built.bridge.clone(),
            },
            folder,
        };
        fs::create_dir(wall.private_folder())?;
        fs::set_permissions(wall.private_folder(), Permissions::from_mode(0o700))?;
        chown(wall.private_folder(), Some(TASK_USER.1), Some(TASK_USER.1))?;
        Ok(Some(wall))
    }

    /// The agent's binary, where every user finds it.
    pub fn binary(&self) -> &Path {
        &self.binaries.agent
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("task.sock")
    }

    /// Where runners put secrets.
    pub fn private_folder(&self) -> PathBuf {
        self.folder.path().join("private")
    }

    /// Makes the socket, which somebody listens on, one that only root and the agent may open.
    ///
    /// # Errors
    /// It is not there.
    pub fn open_to_agent(&self) -> Result<()> {
        let path = self.socket();
        fs::set_permissions(&path, Permissions::from_mode(0o660))?;
        Ok(chown(&path, Some(0), Some(AGENT_USER.1))?)
    }

    /// A folder with these scripts, which everybody may run.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn tools(&self, scripts: &[(&str, &str)]) -> Result<PathBuf> {
        let folder = self.folder.path().join("tools");
        fs::create_dir(&folder)?;
        for (name, script) in scripts {
            let file = folder.join(name);
            fs::write(&file, script)?;
            fs::set_permissions(file, Permissions::from_mode(0o755))?;
        }
        Ok(folder)
    }

    /// An agent that is paired and that runs as [`AGENT_USER`], with its tasks behind the socket.
    ///
    /// # Errors
    /// It does not pair.
    pub fn agent(&self, url: &str, key: &str) -> Result<Agent> {
        let home = self.folder.path().join("agent");
        let mut agent = Agent::in_folder(&self.binaries, &home);
        agent.pair(url, "web-01", key)?.expect_code(0)?;
        hand_over(&home)?;
        let user = AGENT_USER.1.to_string();
        agent.wrap(&["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        agent.set_variable("HOME", home);
        agent.set_variable("ASKALF_TASK_SOCKET", self.socket());
        agent.set_variable("ASKALF_TASK_USER", TASK_USER.0);
        Ok(agent)
    }

    /// Listens on the socket, which the agent's group may open, and starts a runner of [`TASK_USER`] for each connection.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve(&self) -> Result<Served> {
        self.serve_as(TASK_USER.1, AGENT_USER.0)
    }

    /// The same, with runners of `user` for agents of the user `agent`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve_as(&self, user: u32, agent: &'static str) -> Result<Served> {
        let (binary, private) = (self.binary().to_owned(), self.private_folder());
        let listener = UnixListener::bind(self.socket())?;
        self.open_to_agent()?;
        let (stop, runners) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Child>>>::default());
        let (stopped, started) = (Arc::clone(&stop), Arc::clone(&runners));
        let accepting = std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let child = Command::new(&binary)
                    .args(["runner", "--agent-user", agent])
                    .env_clear()
                    .env("RUNTIME_DIRECTORY", &private)
                    .current_dir("/")
                    .uid(user)
                    .gid(user)
                    .stdin(Stdio::from(OwnedFd::from(connection)))
                    .stdout(Stdio::null())
                    .spawn();
                started
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(child);
            }
        });
        Ok(Served {
            socket: self.socket(),
            stop,
            runners,
            accepting: Some(accepting),
        })
    }
}

/// Runners that are given out. Dropping it ends them and removes the socket.
#[derive(Debug)]
pub struct Served {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    runners: Arc<Mutex<Vec<Child>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Served {
    /// Waits until every runner so far has ended; how many there were.
    ///
    /// # Errors
    /// One cannot be waited for.
    pub fn all_ended(&self) -> Result<usize> {
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        for runner in runners.iter_mut() {
            runner.wait()?;
        }
        Ok(runners.len())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _woken = UnixStream::connect(&self.socket);
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
        for runner in &mut *self.runners.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ended_already = runner.kill();
            let _ended = runner.wait();
        }
        let _removed = fs::remove_file(&self.socket);
    }
}

/// Gives a folder and all that is in it to the agent's user.
fn hand_over(folder: &Path) -> io::Result<()> {
    chown(folder, Some(AGENT_USER.1), Some(AGENT_USER.1))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            hand_over(&path)?;
        } else {
            chown(&path, Some(AGENT_USER.1), Some(AGENT_USER.1))?;
        }
    }
    Ok(())
}
