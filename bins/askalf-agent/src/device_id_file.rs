//! The id that the bridge gave this device: a plain file in `state/`. It is no secret and no credential; losing it costs
//! nothing, as the bridge finds the device by its key.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use askalf_agent_core::{DeviceIdError, DeviceIdStore};
use askalf_cli::{in_plain_words, private_file, private_folder};
use askalf_cred::Home;

/// Longest id that is read.
const MAX_BYTES: u64 = 128;

/// `state/device-id`.
pub(crate) struct DeviceIdFile {
    folder: PathBuf,
}

impl DeviceIdFile {
    /// The file of this home.
    pub(crate) fn new(home: &Home) -> Self {
        Self {
            folder: home.state_dir(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("device-id")
    }

    fn read(&self) -> io::Result<Option<String>> {
        // Whatever else is there may block its reader for ever; the next id takes its place.
        if fs::metadata(self.path()).is_ok_and(|found| !found.is_file()) {
            return Ok(None);
        }
        let mut text = String::new();
        match fs::File::open(self.path()) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = text.trim();
        Ok((!id.is_empty()).then(|| id.to_owned()))
    }

    fn write(&self, id: &str) -> io::Result<()> {
        // The same id comes with every start: nothing to write then.
        if self.read().is_ok_and(|kept| kept.as_deref() == Some(id)) {
            return Ok(());
        }
        private_folder().create(&self.folder)?;
        let fresh = self.folder.join("device-id.new");
        let mut file = private_file()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&fresh)?;
        file.write_all(id.as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(fresh, self.path())
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn plain(error: io::Error) -> DeviceIdError {
    DeviceIdError(in_plain_words(&error))
}

impl DeviceIdStore for DeviceIdFile {
    fn load(&self) -> Result<Option<String>, DeviceIdError> {
        self.read().map_err(plain)
    }

    fn save(&self, id: &str) -> Result<(), DeviceIdError> {
        self.write(id).map_err(plain)
    }

    fn forget(&self) -> Result<(), DeviceIdError> {
        self.remove().map_err(plain)
    }
}
