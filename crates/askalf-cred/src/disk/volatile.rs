use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Disk, Facts, SystemDisk};

/// The real disk, and what of one folder would be left of it after a power cut: the content of a file as it was when the file
/// was last synced, and the folder as it was when that was last synced, with any of the changes since, whichever they are.
pub(crate) struct VolatileDisk {
    folder: PathBuf,
    cut_at: usize,
    calls: Cell<usize>,
    state: RefCell<Durable>,
}

#[derive(Default)]
struct Durable {
    contents: HashMap<u64, Vec<u8>>,
    names: BTreeMap<OsString, u64>,
    changes: Vec<Change>,
}

enum Change {
    Link(OsString, u64),
    Rename(OsString, OsString),
    Remove(OsString),
}

impl VolatileDisk {
    /// Everything that is in the folder now is on the disk for good. From call `cut_at` on, no call does anything.
    pub(crate) fn new(folder: &Path, cut_at: usize) -> Self {
        let mut state = Durable::default();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let inode = entry.metadata().unwrap().ino();
            state
                .contents
                .insert(inode, fs::read(entry.path()).unwrap_or_default());
            state.names.insert(entry.file_name(), inode);
        }
        Self {
            folder: folder.to_path_buf(),
            cut_at,
            calls: Cell::new(0),
            state: RefCell::new(state),
        }
    }

    /// Only the name of this file is on the disk for good yet.
    pub(crate) fn forget_content(&self, name: &str) {
        let state = &mut *self.state.borrow_mut();
        let inode = state.names[OsStr::new(name)];
        state.contents.insert(inode, Vec::new());
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Lays out, in a new folder each, every state that the power cut may have left, and shows it to `check`.
    pub(crate) fn each_state_after_the_cut(&self, mut check: impl FnMut(&Path, usize)) {
        let state = self.state.borrow();
        assert!(
            state.changes.len() <= 10,
            "{} changes without a sync",
            state.changes.len()
        );
        // Each bit of `kept` is a change that reached the disk.
        for kept in 0..1_usize << state.changes.len() {
            let mut names = state.names.clone();
            for (n, change) in state.changes.iter().enumerate() {
                if kept >> n & 1 == 1 {
                    change.apply(&mut names);
                }
            }
            let scratch = tempfile::tempdir().unwrap();
            let folder = scratch.path().join("home");
            SystemDisk.create_folder(&folder).unwrap();
            let mut made: HashMap<u64, PathBuf> = HashMap::new();
            for (name, inode) in names {
                let path = folder.join(name);
                if let Some(same) = made.get(&inode) {
                    fs::hard_link(same, &path).unwrap();
                    continue;
                }
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .unwrap();
                made.insert(inode, path);
                let content = state.contents.get(&inode).map_or(&[][..], Vec::as_slice);
                file.write_all_at(content, 0).unwrap();
            }
            check(&folder, kept);
        }
    }

    fn call<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let n = self.calls.replace(self.calls.get() + 1);
        if n >= self.cut_at {
            return Err(io::Error::other("no power"));
        }
        run()
    }

    /// For a name in the folder; what happens elsewhere is not watched.
    fn changed(&self, path: &Path, change: impl FnOnce(OsString) -> Change) {
        if path.parent() == Some(&self.folder) {
            let name = path.file_name().unwrap().to_os_string();
            self.state.borrow_mut().changes.push(change(name));
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk for VolatileDisk {
    fn us(&self) -> String {
        SystemDisk.us()
    }
    fn facts_at(&self, path: &Path) -> io::Result<Facts> {
        self.call(|| SystemDisk.facts_at(path))
    }
    fn facts(&self, file: &File) -> io::Result<Facts> {
        self.call(|| SystemDisk.facts(file))
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.call(|| SystemDisk.open(path))
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.call(|| {
            let file = SystemDisk.create(path)?;
            let inode = file.metadata()?.ino();
            self.state.borrow_mut().contents.insert(inode, Vec::new());
            self.changed(path, |name| Change::Link(name, inode));
            Ok(file)
        })
    }
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.call(|| SystemDisk.open_lock(path))
    }
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        SystemDisk.try_lock(file)
    }
    fn read(&self, file: &File, into: &mut [u8]) -> io::Result<usize> {
        self.call(|| SystemDisk.read(file, into))
    }
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        self.call(|| SystemDisk.write(file, bytes))
    }
    fn rewind(&self, file: &File) -> io::Result<()> {
        self.call(|| SystemDisk.rewind(file))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.call(|| {
            let facts = file.metadata()?;
            let mut content = vec![0; usize::try_from(facts.len()).unwrap()];
            file.read_exact_at(&mut content, 0)?;
            self.state.borrow_mut().contents.insert(facts.ino(), content);
            Ok(())
        })
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|| {
            if path == self.folder {
                let state = &mut *self.state.borrow_mut();
                for change in state.changes.drain(..) {
                    change.apply(&mut state.names);
                }
            }
            Ok(())
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| {
            SystemDisk.rename(from, to)?;
            let to = to.file_name().unwrap().to_os_string();
            self.changed(from, |from| Change::Rename(from, to));
            Ok(())
        })
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| {
            SystemDisk.link(from, to)?;
            let inode = fs::metadata(to)?.ino();
            self.changed(to, |to| Change::Link(to, inode));
            Ok(())
        })
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|| {
            SystemDisk.remove(path)?;
            self.changed(path, Change::Remove);
            Ok(())
        })
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.call(|| SystemDisk.names(folder))
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|| SystemDisk.create_folder(path))
    }
    fn make_folder_private(&self, path: &Path) -> io::Result<()> {
        self.call(|| SystemDisk.make_folder_private(path))
    }
}
