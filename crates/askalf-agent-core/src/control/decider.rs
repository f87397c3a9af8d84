//! Who may let a task run that waits for an approval.

use super::transport::Peer;
use super::{ControlOptions, Refusal};

/// Whether this client may decide. Tasks run as the daemon's user, so nobody of that user may, and nobody among the daemon's
/// own processes, whatever user they became.
#[cfg(unix)]
pub(super) async fn may_decide(peer: &Peer, options: &ControlOptions) -> Result<(), Refusal> {
    if peer.uid == options.uid {
        return Err(own_user(options.uid));
    }
    let pid = peer.pid;
    // Reading /proc may block.
    let ours = tokio::task::spawn_blocking(move || process_tree::is_ours(pid)).await;
    match ours {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(Refusal::new(
            "approval-from-task",
            "the command runs below the agent itself, where its tasks run",
            "decide from a shell that the agent did not start",
        )),
        Ok(Err(_)) | Err(_) => Err(Refusal::new(
            "approval-unproven",
            "it cannot be told that the command is none of the agent's own tasks",
            "try again; /proc must be readable to the agent",
        )),
    }
}

#[cfg(unix)]
fn own_user(uid: u32) -> Refusal {
    let hint = if uid == 0 {
        "run the agent as a user of its own and decide as root, or run 'askalf-agent daemon' on a terminal and answer there"
    } else {
        "decide as root, or run 'askalf-agent daemon' on a terminal and answer there"
    };
    Refusal::new(
        "approval-own-user",
        "the agent's own user may not decide: its tasks run as that user too",
        hint,
    )
}

/// A pipe does not tell whether a task is at its other end.
#[cfg(windows)]
pub(super) async fn may_decide(_peer: &Peer, _options: &ControlOptions) -> Result<(), Refusal> {
    Err(Refusal::new(
        "approval-own-user",
        "on Windows nobody may decide over the agent's pipe: its tasks could too",
        "run 'askalf-agent daemon' in a console and answer there",
    ))
}

#[cfg(unix)]
mod process_tree {
    use std::io;

    /// Whether the process is this one or below it.
    #[cfg(target_os = "linux")]
    pub(super) fn is_ours(pid: Option<i32>) -> io::Result<bool> {
        let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        is_below(pid, own, |pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            parent(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
    }

    /// The user alone decides where the system tells no ancestors.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_ours(_pid: Option<i32>) -> io::Result<bool> {
        Ok(false)
    }

    /// More generations than any process has.
    const MOST_ANCESTORS: usize = 4096;

    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its tests run everywhere"))]
    fn is_below(pid: i32, root: i32, parent_of: impl Fn(i32) -> io::Result<i32>) -> io::Result<bool> {
        let mut at = pid;
        for _ in 0..MOST_ANCESTORS {
            if at == root {
                return Ok(true);
            }
            // Past the first process, or in another namespace of processes, which tasks of ours cannot come from.
            if at <= 1 {
                return Ok(false);
            }
            at = parent_of(at)?;
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// The fourth field of `/proc/PID/stat`; the second one, a name in brackets, may hold anything.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its tests run everywhere"))]
    fn parent(stat: &str) -> Option<i32> {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ancestors_are_followed_to_the_root_and_an_unreadable_one_is_no_proof() {
            let parents = |pid| match pid {
                30 => Ok(20),
                20 => Ok(10),
                10 => Ok(1),
                40 => Ok(1),
                50 => Ok(50),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            };
            for (pid, below) in [(30, true), (10, true), (40, false), (1, false), (0, false)] {
                assert_eq!(is_below(pid, 10, parents).unwrap(), below, "{pid}");
            }
            assert!(is_below(60, 10, parents).is_err());
            assert!(is_below(50, 10, parents).is_err(), "a loop ends");
        }

        #[test]
        fn a_name_with_brackets_hides_no_parent() {
            assert_eq!(parent("7 (a) S 1 (b) R 42 7 7 0"), Some(42));
            assert_eq!(parent("7 (sh) S 41 7"), Some(41));
            assert_eq!(parent("nonsense"), None);
        }

        #[cfg(target_os = "linux")]
        #[test]
        fn a_child_is_ours_and_init_is_not() {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            assert!(is_ours(Some(pid)).unwrap());
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!is_ours(Some(1)).unwrap());
            assert!(is_ours(None).is_err());
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn options(uid: u32) -> ControlOptions {
        ControlOptions::new(uid)
    }

    async fn id(peer: Peer, uid: u32) -> Option<String> {
        may_decide(&peer, &options(uid))
            .await
            .err()
            .map(|refusal| refusal.id)
    }

    fn peer(uid: u32, pid: i32) -> Peer {
        Peer { uid, pid: Some(pid) }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn root_decides_unless_the_daemon_is_its_own_or_it_is_a_task() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(id(peer(0, 1), 1000).await, None);
        assert_eq!(
            id(peer(1000, 1), 1000).await.as_deref(),
            Some("approval-own-user")
        );
        assert_eq!(id(peer(0, 1), 0).await.as_deref(), Some("approval-own-user"));
        assert_eq!(
            id(peer(0, own), 1000).await.as_deref(),
            Some("approval-from-task")
        );
        assert_eq!(
            id(peer(0, i32::MAX), 1000).await.as_deref(),
            Some("approval-unproven")
        );
    }
}
