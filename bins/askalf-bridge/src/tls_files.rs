//! The files of the TLS listener: read, read again on SIGHUP, and watched for their end.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use askalf_bridge_core::ServerTls;
use askalf_cli::{ExitCode, Failure, ReloadRequests, in_plain_words, owner, permission_bits};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::database::now;
use crate::local_socket::own_uid;

/// Largest file that is read: a chain has a few kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// How long ahead the end of a certificate is warned about.
const WARN_AHEAD: Duration = Duration::from_secs(14 * DAY.as_secs());

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where certificate chain and key are.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    pub(crate) async fn load(&self) -> Result<ServerTls, Failure> {
        let (chain, key) = self.read().await?;
        let tls = ServerTls::from_pem(&chain, &key).map_err(|error| self.unusable(&error))?;
        tell(&tls);
        Ok(tls)
    }

    /// Takes what the files hold at each SIGHUP, and warns each day of a certificate that is about to expire. Sessions
    /// stay; files that cannot be used change nothing.
    pub(crate) async fn keep(&self, tls: &ServerTls, reloads: &mut ReloadRequests) {
        loop {
            let asked = tokio::select! {
                () = reloads.next() => true,
                () = sleep(DAY) => false,
            };
            if !asked {
                warn_of_expiry(tls);
                continue;
            }
            let replaced = match self.read().await {
                Ok((chain, key)) => tls.replace(&chain, &key).map_err(|error| self.unusable(&error)),
                Err(failure) => Err(failure),
            };
            match replaced {
                Ok(()) => tell(tls),
                Err(failure) => {
                    tracing::error!("the TLS certificate stays as it is: {failure}");
                    warn_of_expiry(tls);
                }
            }
        }
    }

    async fn read(&self) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), Failure> {
        let files = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let chain = read(&files.chain, false)?;
            Ok((chain, Zeroizing::new(read(&files.key, true)?)))
        });
        read.await.unwrap_or_else(|_| {
            Err(Failure::new(
                ExitCode::Failed,
                "reading the TLS files did not end",
            ))
        })
    }

    fn unusable(&self, error: &askalf_bridge_core::TlsError) -> Failure {
        use askalf_bridge_core::TlsError;
        let file = match error {
            TlsError::NoCertificate | TlsError::BadCertificate => &self.chain,
            TlsError::NoKey | TlsError::BadKey | TlsError::Mismatch => &self.key,
        };
        Failure::new(ExitCode::Configuration, format!("{}: {error}", file.display())).hint(error.hint())
    }
}

fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, Failure> {
    let failure = |code, why: &str| Failure::new(code, format!("{} cannot be used: {why}", path.display()));
    let io = |error: std::io::Error| {
        failure(ExitCode::Configuration, &in_plain_words(&error))
            .hint("check the path and the rights of the file")
    };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(failure(ExitCode::Configuration, "it is not a file").hint("name a PEM file"));
    }
    if is_secret {
        if owner(&metadata).is_some_and(|owner| owner != 0 && owner != own_uid()) {
            return Err(failure(ExitCode::Permission, "it belongs to another user")
                .hint("give the key to the user that the bridge runs as, or to root"));
        }
        // A group that may read it is how distributions hand keys to services.
        if permission_bits(&metadata).is_some_and(|bits| bits & 0o027 != 0) {
            return Err(failure(ExitCode::Permission, "others can read or change it")
                .hint(format!("run: chmod o-rwx,g-wx {}", path.display())));
        }
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failure(ExitCode::Configuration, "it is larger than 1 MiB").hint("name a PEM file"));
    }
    Ok(bytes)
}

fn tell(tls: &ServerTls) {
    tracing::info!(
        "the key of the TLS certificate has the fingerprint {}",
        tls.key_fingerprint()
    );
    warn_of_expiry(tls);
}

fn warn_of_expiry(tls: &ServerTls) {
    let left = tls.expires_at().0.saturating_sub(now().0);
    match u64::try_from(left).map(Duration::from_millis) {
        Err(_) => {
            tracing::error!("the TLS certificate has expired: devices refuse it. Renew it, then send SIGHUP")
        }
        Ok(left) if left < WARN_AHEAD => tracing::warn!(
            "the TLS certificate expires in {} days: renew it, then send SIGHUP",
            left.as_secs() / DAY.as_secs()
        ),
        Ok(_) => {}
    }
}
