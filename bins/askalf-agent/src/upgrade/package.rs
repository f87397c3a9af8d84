//! A package: a tarball of a release, with `SHA256SUMS` and `SHA256SUMS.sig` beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure, in_plain_words};
use ring::digest::{SHA256, digest};

use super::ReleaseKey;

/// Largest package and largest program that is read (128 MiB): many times one of ours.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// Largest list of checksums or signature that is read (1 MiB).
const MAX_SUMS: u64 = 1024 * 1024;

/// What a package's name ends with.
const SUFFIX: &str = ".tar.gz";

/// The list of checksums beside a package, and the signature over it.
const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.sig";

/// A package that was read whole: what was checked is what is unpacked, whatever happens to the file meanwhile.
pub(crate) struct Package {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Package {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read(path, MAX_BYTES).map_err(|why| {
            Failure::new(
                ExitCode::Usage,
                format!("the package {} cannot be read: {why}", path.display()),
            )
            .hint("name a file askalf-agent-VERSION-PLATFORM.tar.gz")
        })?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Whether one of these keys vouches for the package. Where none has to (`unsigned` is allowed), a list of checksums that is
    /// there must still be right.
    pub(crate) fn check(&self, keys: &[ReleaseKey], unsigned: bool) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let sums = read(&folder.join(SUMS), MAX_SUMS);
        if unsigned {
            return match sums {
                Ok(sums) => self.check_sum(&sums),
                Err(_) => Ok(()),
            };
        }
        let refused =
            |why: String| Failure::new(ExitCode::Permission, format!("the package is not taken: {why}"));
        if keys.is_empty() {
            return Err(refused("no key says who may sign it".to_owned()).hint(
                "name the public key of whoever made it with --trusted-key FILE, or take it unsigned with --allow-unsigned",
            ));
        }
        let unsigned_hint = "put SHA256SUMS and SHA256SUMS.sig of the same release beside the package, or take it unsigned with --allow-unsigned";
        let sums = sums.map_err(|why| refused(format!("{SUMS} beside it: {why}")).hint(unsigned_hint))?;
        let signature = read(&folder.join(SIGNATURE), MAX_SUMS)
            .map_err(|why| refused(format!("{SIGNATURE} beside it: {why}")).hint(unsigned_hint))?;
        if !keys.iter().any(|key| key.has_signed(&sums, &signature)) {
            return Err(refused(format!(
                "{SIGNATURE} is not by a trusted key, or {SUMS} was changed"
            ))
            .hint("get package, checksums and signature anew, from one release"));
        }
        self.check_sum(&sums)
    }

    fn check_sum(&self, sums: &[u8]) -> Result<(), Failure> {
        let name = self.name();
        let found: String = digest(&SHA256, &self.bytes)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let sums = String::from_utf8_lossy(sums);
        let wanted = sums
            .lines()
            .filter_map(|line| line.split_once("  "))
            .find(|(_, file)| *file == name);
        let why = match wanted {
            Some((sum, _)) if sum == found => return Ok(()),
            Some(_) => format!("its checksum is not the one in {SUMS}"),
            None => format!("{SUMS} does not name it"),
        };
        Err(
            Failure::new(ExitCode::Permission, format!("the package is not taken: {why}"))
                .hint("get package and checksums anew, from one release, and do not rename them"),
        )
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Unpacks the program alone into a file that is there and empty. `tar` of the system reads the archive: it comes on its
    /// standard input, and only the bytes of one member leave it.
    pub(crate) fn unpack(&self, into: &mut File) -> Result<(), Failure> {
        let no_program = || {
            Failure::new(
                ExitCode::Failed,
                format!("{} holds no askalf-agent", self.path.display()),
            )
            .hint("name a file askalf-agent-VERSION-PLATFORM.tar.gz, as it was released")
        };
        let name = self.name();
        let folder = name.strip_suffix(SUFFIX).ok_or_else(no_program)?;
        let mut tar = Command::new("tar")
            .args(["--extract", "--gzip", "--to-stdout", "--file", "-", "--"])
            .arg(format!("{folder}/askalf-agent"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                Failure::new(
                    ExitCode::Failed,
                    format!("'tar' cannot be run: {}", in_plain_words(&error)),
                )
                .hint("install tar and gzip")
            })?;
        let written = std::thread::scope(|scope| {
            let input = tar.stdin.take();
            // It may close early, once it has what it was asked for.
            scope.spawn(move || input.map(|mut input| input.write_all(&self.bytes)));
            let mut output = tar.stdout.take()?.take(MAX_BYTES + 1);
            std::io::copy(&mut output, into).ok()
        });
        let ended = tar.wait().is_ok_and(|status| status.success());
        match written {
            Some(bytes) if ended && bytes > 0 && bytes <= MAX_BYTES => Ok(()),
            _ => Err(no_program()),
        }
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| in_plain_words(&error))?;
    if fs::metadata(path).is_ok_and(|facts| !facts.is_file()) {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| in_plain_words(&error))?;
    if bytes.len() as u64 > limit {
        return Err("it is too large".to_owned());
    }
    Ok(bytes)
}
