use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use crate::disk::{Disk, Steady};
use crate::io_fault::IoFault;
use crate::save_error::SaveError;

/// How many unreadable files of one second are kept apart.
const MOST_OF_ONE_SECOND: u32 = 100;

/// Gives an unreadable file a second, dated name that nothing had before, durably. The file keeps its old name.
pub(crate) fn keep_copy(disk: &Steady<'_>, path: &Path, now: SystemTime) -> Result<PathBuf, SaveError> {
    let io = |error: io::Error| SaveError::Io(IoFault::new("move aside", path, &error));
    for n in 0..MOST_OF_ONE_SECOND {
        let aside = dated_name(path, now, n);
        let made = match disk.link(path, &aside) {
            Ok(()) => true,
            // An act that was cut off had come as far as this already.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(disk, path, &aside) => false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(io(error)),
        };
        if let Err(error) = disk.sync_folder(aside.parent().unwrap_or(Path::new("."))) {
            if made {
                let _ = disk.remove(&aside);
            }
            return Err(io(error));
        }
        return Ok(aside);
    }
    Err(io(ErrorKind::AlreadyExists.into()))
}

fn is_same(disk: &Steady<'_>, one: &Path, other: &Path) -> bool {
    match (disk.facts_at(one), disk.facts_at(other)) {
        (Ok(one), Ok(other)) => one.version.inode == other.version.inode,
        _ => false,
    }
}

/// [`keep_copy`], and takes the old name away.
pub(crate) fn move_away(disk: &Steady<'_>, path: &Path, now: SystemTime) -> Result<PathBuf, SaveError> {
    let aside = keep_copy(disk, path, now)?;
    match disk.remove(path) {
        Ok(()) => Ok(aside),
        Err(error) => {
            let _ = disk.remove(&aside);
            Err(SaveError::Io(IoFault::new("move aside", path, &error)))
        }
    }
}

/// Undoes [`move_away`]; `false` if the file only has its dated name now.
pub(crate) fn bring_back(disk: &Steady<'_>, aside: &Path, path: &Path) -> bool {
    let back = disk.link(aside, path).is_ok();
    if back {
        let _ = disk.remove(aside);
    }
    back
}

/// `agent.json.unreadable-20260131T235959Z`, and `-1` to `-99` behind it for more of the same second. UTC.
fn dated_name(path: &Path, now: SystemTime, n: u32) -> PathBuf {
    // A clock outside the years that have a date (-9999 to 9999) must not keep a device from being paired.
    let time = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".unreadable-{}", time.strftime("%Y%m%dT%H%M%SZ")));
    if n > 0 {
        name.push(format!("-{n}"));
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_name_is_dated_in_utc_and_numbered() {
        let path = Path::new("/h/agent.json");
        // 2026-01-31T23:59:59Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999);
        assert_eq!(
            dated_name(path, now, 0),
            Path::new("/h/agent.json.unreadable-20260131T235959Z")
        );
        assert_eq!(
            dated_name(path, now, 2),
            Path::new("/h/agent.json.unreadable-20260131T235959Z-2")
        );
    }
}
