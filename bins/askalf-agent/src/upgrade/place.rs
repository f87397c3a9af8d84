//! Where the program stands, and the swap.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure, in_plain_words, sync_folder_of};

/// The program's own file, its folder taken for this upgrade alone.
#[derive(Debug)]
pub(crate) struct Place {
    program: PathBuf,
    _taken: File,
}

impl Place {
    /// Takes the folder of the program that runs. One that a package manager put there is not ours to change.
    pub(crate) fn take() -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .and_then(fs::canonicalize)
            .map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!(
                        "this program's own file is not to be found: {}",
                        in_plain_words(&error)
                    ),
                )
                .hint("run it by its whole path")
            })?;
        if let Some(package) = owner(&program) {
            return Err(Failure::new(
                ExitCode::Configuration,
                format!("{} belongs to the package '{package}'", program.display()),
            )
            .hint("upgrade it by the package manager: 'apt install ./askalf-agent_VERSION.deb'"));
        }
        let folder = program.parent().unwrap_or(Path::new("/"));
        let taken = File::open(folder).map_err(|error| unwritable(&program, &error))?;
        match taken.try_lock() {
            Ok(()) => Ok(Self {
                program,
                _taken: taken,
            }),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                ExitCode::TryAgain,
                format!("another upgrade works in {}", folder.display()),
            )
            .hint("wait for it to end")),
            Err(TryLockError::Error(error)) => Err(unwritable(&program, &error)),
        }
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Where the program before it is kept.
    pub(crate) fn previous(&self) -> PathBuf {
        self.beside(".previous")
    }

    /// Writes the new program beside the old one, with its owner and mode, and to the disk. `unpack` fills the file.
    pub(crate) fn stage(
        &self,
        unpack: impl FnOnce(&mut File) -> Result<(), Failure>,
    ) -> Result<Staged, Failure> {
        let path = self.beside(".upgrade");
        let failed = |error: io::Error| unwritable(&self.program, &error);
        // What an upgrade that died has left; the folder is ours.
        remove_if_there(&path).map_err(failed)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let staged = Staged(path);
        unpack(&mut file)?;
        self.dress(&file).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        // Closed before it is run: a file that is open for writing is not executed.
        Ok(staged)
    }

    fn dress(&self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;

        let old = self.program.metadata()?;
        let own = file.metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())
    }

    /// Puts the staged program in the place of the old one, which gets a second name first.
    pub(crate) fn swap(&self, staged: Staged) -> Result<(), Failure> {
        let link = self.beside(".previous.new");
        remove_if_there(&link)
            .and_then(|()| fs::hard_link(&self.program, &link))
            .and_then(|()| fs::rename(&link, self.previous()))
            // Of two names of one file a rename takes none away: so it is after an upgrade that was taken back.
            .and_then(|()| remove_if_there(&link))
            .and_then(|()| fs::rename(&staged.0, &self.program))
            .and_then(|()| sync_folder_of(&self.program))
            .map_err(|error| unwritable(&self.program, &error))
    }

    /// Puts the old program back; the new one is gone then.
    pub(crate) fn swap_back(&self) -> Result<(), Failure> {
        let link = self.beside(".upgrade");
        remove_if_there(&link)
            .and_then(|()| fs::hard_link(self.previous(), &link))
            .and_then(|()| fs::rename(&link, &self.program))
            .and_then(|()| remove_if_there(&link))
            .and_then(|()| sync_folder_of(&self.program))
            .map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!(
                        "the old program could not be put back: {}",
                        in_plain_words(&error)
                    ),
                )
                .hint(format!(
                    "run: cp -p {} {}",
                    self.previous().display(),
                    self.program.display()
                ))
            })
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.program.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }
}

/// A whole new program beside the old one; removed unless it takes its place.
#[derive(Debug)]
pub(crate) struct Staged(PathBuf);

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already where it took the place.
        let _ = fs::remove_file(&self.0);
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The package that a file belongs to, where a package manager knows it.
fn owner(program: &Path) -> Option<String> {
    let asked = |tool: &str, argument: &str| {
        let output = Command::new(tool)
            .arg(argument)
            .arg(program)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let of_debian = asked("dpkg", "-S").and_then(|text| Some(text.split_once(':')?.0.to_owned()));
    of_debian.or_else(|| asked("rpm", "-qf").map(|text| text.trim().to_owned()))
}

fn unwritable(program: &Path, error: &io::Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ExitCode::Permission,
        _ => ExitCode::Failed,
    };
    Failure::new(
        code,
        format!(
            "nothing was changed: the folder of {} cannot be written: {}",
            program.display(),
            in_plain_words(error)
        ),
    )
    .hint("run it as the user that the folder belongs to, or as root; check the free space")
}
