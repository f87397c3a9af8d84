use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, Facts, SystemDisk};

/// What happens at one call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// That call alone fails with this error number.
    Once(i32),
    /// That call alone does its work, and yet reports this error number.
    DoneAndReported(i32),
    /// The process is killed just before that call: no later call does anything.
    Killed,
    /// From that call on the disk takes one byte at a time.
    OneByteWrites,
    /// That call, if it writes, writes one bit of this byte wrong.
    Corrupts(usize),
}

/// What another process does just before a call.
struct Rival<'a> {
    call: &'static str,
    act: Box<dyn Fn() + 'a>,
}

/// The real disk, and a fault at one of its calls.
pub(crate) struct FaultyDisk<'a> {
    at: usize,
    fault: Fault,
    calls: Cell<usize>,
    log: RefCell<Vec<String>>,
    rival: Option<Rival<'a>>,
    foreign: Option<PathBuf>,
}

impl<'a> FaultyDisk<'a> {
    pub(crate) fn new(at: usize, fault: Fault) -> Self {
        Self {
            at,
            fault,
            calls: Cell::new(0),
            log: RefCell::default(),
            rival: None,
            foreign: None,
        }
    }

    /// No fault, for the log of calls.
    pub(crate) fn sound() -> Self {
        Self::new(usize::MAX, Fault::Killed)
    }

    /// Lets another process act just before each call that the log shows as `call`.
    pub(crate) fn before(mut self, call: &'static str, act: impl Fn() + 'a) -> Self {
        self.rival = Some(Rival {
            call,
            act: Box::new(act),
        });
        self
    }

    /// Lets a file belong to user 4242, which only root could really do.
    pub(crate) fn foreign(mut self, path: PathBuf) -> Self {
        self.foreign = Some(path);
        self
    }

    fn with_owner(&self, facts: Facts) -> Facts {
        let foreign = self
            .foreign
            .as_deref()
            .and_then(|path| SystemDisk.facts_at(path).ok());
        match foreign {
            Some(foreign) if foreign.version.inode == facts.version.inode => Facts {
                foreign_owner: Some("uid 4242".into()),
                ..facts
            },
            _ => facts,
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Each call as `verb name`, random parts cut off.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    fn call<T>(&self, verb: &str, path: Option<&Path>, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let n = self.calls.replace(self.calls.get() + 1);
        let name = path
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let name = name
            .split_once(".tmp-")
            .map_or(&*name, |(stem, _)| stem)
            .to_owned()
            + if name.contains(".tmp-") { ".tmp" } else { "" };
        let entry = format!("{verb} {name}").trim().to_owned();
        if let Some(rival) = self.rival.as_ref().filter(|rival| rival.call == entry) {
            (rival.act)();
        }
        self.log.borrow_mut().push(entry);
        match self.fault {
            Fault::Once(code) if n == self.at => Err(io::Error::from_raw_os_error(code)),
            Fault::DoneAndReported(code) if n == self.at => {
                run().and_then(|_| Err(io::Error::from_raw_os_error(code)))
            }
            Fault::Killed if n >= self.at => Err(io::Error::other("killed")),
            _ => run(),
        }
    }
}

impl Disk for FaultyDisk<'_> {
    fn us(&self) -> String {
        SystemDisk.us()
    }
    fn facts_at(&self, path: &Path) -> io::Result<Facts> {
        self.call("look-at", Some(path), || {
            SystemDisk.facts_at(path).map(|facts| self.with_owner(facts))
        })
    }
    fn facts(&self, file: &File) -> io::Result<Facts> {
        self.call("look", None, || {
            SystemDisk.facts(file).map(|facts| self.with_owner(facts))
        })
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.call("open", Some(path), || SystemDisk.open(path))
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.call("create", Some(path), || SystemDisk.create(path))
    }
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.call("open-lock", Some(path), || SystemDisk.open_lock(path))
    }
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        let locked = self.call("lock", None, || match SystemDisk.try_lock(file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match locked {
            Ok(true) => Ok(()),
            Ok(false) => Err(TryLockError::WouldBlock),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }
    fn read(&self, file: &File, into: &mut [u8]) -> io::Result<usize> {
        self.call("read", None, || SystemDisk.read(file, into))
    }
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        let n = self.calls.get();
        let mut bytes = bytes.to_vec();
        match self.fault {
            Fault::OneByteWrites if n >= self.at => bytes.truncate(1),
            Fault::Corrupts(byte) if n == self.at => bytes[byte] ^= 1,
            Fault::Once(_)
            | Fault::DoneAndReported(_)
            | Fault::Killed
            | Fault::OneByteWrites
            | Fault::Corrupts(_) => {}
        }
        self.call("write", None, || SystemDisk.write(file, &bytes))
    }
    fn rewind(&self, file: &File) -> io::Result<()> {
        self.call("rewind", None, || SystemDisk.rewind(file))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.call("sync", None, || SystemDisk.sync(file))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call("sync-folder", None, || SystemDisk.sync_folder(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename-to", Some(to), || SystemDisk.rename(from, to))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("link-to", Some(to), || SystemDisk.link(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", Some(path), || SystemDisk.remove(path))
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.call("list", None, || SystemDisk.names(folder))
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.call("create-folder", None, || SystemDisk.create_folder(path))
    }
    fn make_folder_private(&self, path: &Path) -> io::Result<()> {
        self.call("make-private", None, || SystemDisk.make_folder_private(path))
    }
}
