//! What a service tells systemd, and systemd's wish to hear from it: the protocol of sd_notify(3), without its library.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest status that is sent: `systemctl status` shows it on one line.
const MAX_STATUS: usize = 600;

/// The way to the service manager that started this process.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    watchdog: Option<Duration>,
}

/// What the service manager put into the environment.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `NOTIFY_SOCKET`
    pub socket: Option<OsString>,
    /// `WATCHDOG_USEC`
    pub watchdog_usec: Option<String>,
    /// `WATCHDOG_PID`
    pub watchdog_pid: Option<String>,
}

impl Notifier {
    /// `None` where no service manager waits for this process.
    pub(crate) fn new(surroundings: &Surroundings) -> io::Result<Option<Self>> {
        let Some(manager) = surroundings.socket.as_deref().map(address).transpose()? else {
            return Ok(None);
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold the agent up.
        socket.set_nonblocking(true)?;
        Ok(Some(Self {
            socket,
            manager,
            watchdog: surroundings.watchdog(std::process::id()),
        }))
    }

    /// Within what time the manager must hear that this process lives; `None` where it does not ask.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start is complete.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// This process lives.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for people.
    pub(crate) fn status(&self, text: &str) {
        let mut line = askalf_cli::one_line(text);
        let most = (0..=MAX_STATUS).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(most.unwrap_or_default());
        self.send(&format!("STATUS={line}"));
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.manager) {
            tracing::debug!("the service manager was not told: {}", error.kind());
        }
    }
}

impl Surroundings {
    /// Other processes inherit the variables: they are meant for the one whose id stands there.
    fn watchdog(&self, own_pid: u32) -> Option<Duration> {
        let pid = self.watchdog_pid.as_deref();
        let meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
        let micros = self.watchdog_usec.as_deref()?.parse().ok()?;
        (meant && micros > 0).then(|| Duration::from_micros(micros))
    }
}

/// A path, or a name in the abstract namespace behind an `@`.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(socket: impl Into<OsString>) -> Notifier {
        let surroundings = Surroundings {
            socket: Some(socket.into()),
            ..Surroundings::default()
        };
        Notifier::new(&surroundings).unwrap().unwrap()
    }

    #[test]
    fn a_manager_hears_each_message_at_a_path_and_in_the_abstract_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("askalf-test-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&abstract_address).unwrap();
        for (manager, socket) in [
            (at_path, path.into_os_string()),
            (at_name, format!("@{name}").into()),
        ] {
            let notifier = notifier(socket);
            notifier.ready();
            assert_eq!(received(&manager), "READY=1");
            notifier.alive();
            assert_eq!(received(&manager), "WATCHDOG=1");
            notifier.status("repair_required:\nrun it");
            assert_eq!(received(&manager), "STATUS=repair_required: run it");
            notifier.status(&"\u{e4}".repeat(MAX_STATUS));
            assert_eq!(received(&manager).len(), "STATUS=".len() + MAX_STATUS);
            notifier.stopping();
            assert_eq!(received(&manager), "STOPPING=1");
        }
    }

    #[test]
    fn without_a_manager_nobody_is_told_and_one_that_is_gone_does_no_harm() {
        assert!(Notifier::new(&Surroundings::default()).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        notifier(folder.path().join("gone")).ready();
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let watchdog = |usec: &str, pid: Option<&str>| {
            Surroundings {
                socket: None,
                watchdog_usec: Some(usec.to_owned()),
                watchdog_pid: pid.map(str::to_owned),
            }
            .watchdog(42)
        };
        assert_eq!(watchdog("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(watchdog("3000000", Some("42")), Some(Duration::from_secs(3)));
        assert_eq!(watchdog("3000000", Some("43")), None);
        assert_eq!(watchdog("0", None), None);
        assert_eq!(watchdog("soon", None), None);
    }
}
