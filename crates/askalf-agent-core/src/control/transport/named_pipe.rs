//! The control socket as a named pipe: its access list decides who gets in, so whoever is in may speak.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf, Prefix};
use std::time::Duration;

use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer};
use tokio::time::sleep;

use super::super::{ControlError, ControlOptions};
use super::pipe_access;

/// `ERROR_PIPE_BUSY`: each instance has its client; the next one follows at once.
const PIPE_BUSY: i32 = 231;

/// Pause before a busy pipe is tried again. The caller's patience bounds the tries.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Longest name of a pipe, in UTF-16 units (`CreateNamedPipe`).
const MAX_NAME: usize = 256;

pub(in super::super) type Listener = PipeListener;
pub(in super::super) type Stream = NamedPipeServer;

/// The agent's end of its named pipe.
///
/// Lets in the pipe's owner, the system and administrators, all on this machine. The pipe is gone when this is dropped.
#[derive(Debug)]
pub struct PipeListener {
    name: OsString,
    /// The instance that takes the next client. `None` where it could not be made: then the next try makes it.
    next: Option<NamedPipeServer>,
}

impl PipeListener {
    /// Listens on the pipe that stands for the path `socket`: see [`pipe_name`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] where the path is too long for the name of a pipe,
    /// [`io::ErrorKind::PermissionDenied`] where a pipe of this name exists; the system's error else.
    ///
    /// # Panics
    /// Outside of a runtime with I/O enabled.
    pub fn bind(socket: &Path) -> io::Result<Self> {
        let name = pipe_name(socket)?;
        let next = Some(pipe_access::create(&name, true)?);
        Ok(Self { name, next })
    }
}

/// Waits for a client. Cancel-safe.
pub(in super::super) async fn accept(listener: &mut Listener) -> io::Result<Stream> {
    let waiting = match listener.next.take() {
        Some(waiting) => listener.next.insert(waiting),
        None => listener.next.insert(pipe_access::create(&listener.name, false)?),
    };
    let outcome = waiting.connect().await;
    // The next instance before this one is served: a client that finds none would believe that no agent runs. One whose
    // client left at once takes no other.
    let next = pipe_access::create(&listener.name, false);
    let connected = std::mem::replace(&mut listener.next, next.ok());
    outcome?;
    connected.ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Who is at the other end: somebody whom the access list let in.
pub(in super::super) struct Peer;

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a process of the owner or an administrator")
    }
}

pub(in super::super) fn peer(_: &Stream, _: &ControlOptions) -> io::Result<Result<Peer, Peer>> {
    Ok(Ok(Peer))
}

pub(in super::super) async fn connect(socket: &Path) -> Result<NamedPipeClient, ControlError> {
    // A name that no pipe can have.
    let name = pipe_name(socket).map_err(|_| ControlError::NotRunning)?;
    loop {
        // By default the server may learn who this is, and may not act as this user.
        match ClientOptions::new().open(&name) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => sleep(BUSY_PAUSE).await,
            Err(error) => {
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => ControlError::NotRunning,
                    io::ErrorKind::PermissionDenied => ControlError::NotPermitted,
                    _ => ControlError::Io(crate::driver::io_text(&error)),
                });
            }
        }
    }
}

/// The name of the pipe that stands for a path: `\\.\pipe\askalf-agent|C:|Users|me|.askalf|agent.sock`.
///
/// It is the path by its real name (links are followed, as far as its folder exists) with `|` for each `\`, which no
/// name of a pipe may hold and no path may. Names of pipes do not tell capitals from small letters, as paths do not.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where that is longer than 256 UTF-16 units; the system's error where the path cannot be made
/// absolute.
pub fn pipe_name(socket: &Path) -> io::Result<OsString> {
    let mut name = OsString::from(r"\\.\pipe\askalf-agent");
    for part in real_path(socket)?.components() {
        match part {
            Component::Prefix(prefix) => match prefix.kind() {
                Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
                    name.push(format!("|{}:", char::from(letter)));
                }
                Prefix::UNC(server, share) | Prefix::VerbatimUNC(server, share) => {
                    push_all(&mut name, &[OsStr::new("UNC"), server, share]);
                }
                Prefix::DeviceNS(device) | Prefix::Verbatim(device) => push_all(&mut name, &[device]),
            },
            Component::Normal(part) => push_all(&mut name, &[part]),
            Component::ParentDir | Component::CurDir | Component::RootDir => {}
        }
    }
    if name.to_string_lossy().encode_utf16().count() > MAX_NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(name)
}

fn push_all(name: &mut OsString, parts: &[&OsStr]) {
    for part in parts {
        name.push("|");
        name.push(part);
    }
}

fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(file)) => Ok(folder.join(file)),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_path() {
        let name = |path: &str| pipe_name(Path::new(path)).unwrap().into_string().unwrap();
        assert_eq!(
            name(r"C:\no such\.askalf\agent.sock"),
            r"\\.\pipe\askalf-agent|C:|no such|.askalf|agent.sock"
        );
        assert_eq!(
            name(r"\\server\share\agent.sock"),
            r"\\.\pipe\askalf-agent|UNC|server|share|agent.sock"
        );
        let long = format!(r"C:\{}\agent.sock", "x".repeat(250));
        assert_eq!(
            pipe_name(Path::new(&long)).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn every_spelling_of_a_folder_is_one_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let plain = pipe_name(&folder.path().join("agent.sock")).unwrap();
        let detour = folder.path().join("x").join("..").join("agent.sock");
        assert_eq!(pipe_name(&detour).unwrap(), plain);
        let verbatim = folder.path().canonicalize().unwrap().join("agent.sock");
        assert_eq!(pipe_name(&verbatim).unwrap(), plain);
    }
}
