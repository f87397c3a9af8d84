//! A log file that does not grow for ever, where no journal takes what the daemon says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size at which a new file is begun, in bytes. With the one before it, this is twice what a log can take of the disk.
const MOST: u64 = 5 * 1024 * 1024;

/// Writes lines to a file, which becomes `NAME.1` when it is full.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    most: u64,
    open: Option<(File, u64)>,
}

impl LogFile {
    /// Goes on in this file. It is opened with the first line: where that fails lines are lost, and the next one tries again.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            most: MOST,
            open: None,
        }
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        self.open = None;
        fs::rename(&self.path, older(&self.path))
    }

    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.open.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let size = file.metadata()?.len();
            self.open = Some((file, size));
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let most = self.most;
        let (_, size) = self.open()?;
        if *size > 0 && size.saturating_add(line.len() as u64) > most {
            self.begin_anew()?;
        }
        let (file, size) = self.open()?;
        let written = file.write(line);
        match written {
            Ok(written) => *size += written as u64,
            // Opened anew with the next line: the disk may have been full, or the folder moved.
            Err(_) => self.open = None,
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_the_one_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let mut log = LogFile {
            most: 8,
            ..LogFile::new(path.clone())
        };
        for line in ["one\n", "two\n", "three\n", "far too long\n", "end\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "end\n");
        assert_eq!(read(&older(&path)), "far too long\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_another_process_wrote_counts_and_a_folder_that_is_missing_costs_lines_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/agent.log");
        let mut log = LogFile {
            most: 8,
            ..LogFile::new(path.clone())
        };
        assert!(log.write_all(b"lost\n").is_err());
        fs::create_dir(folder.path().join("later")).unwrap();
        fs::write(&path, "before\n").unwrap();
        log.write_all(b"now\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "now\n");
        assert_eq!(fs::read_to_string(older(&path)).unwrap(), "before\n");
    }
}
