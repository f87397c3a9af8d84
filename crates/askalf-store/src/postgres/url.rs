//! The address of a database, as libpq writes it.

use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::connect_error::ConnectError;

/// How the connection is encrypted: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Never.
    Disable,
    /// Where the server can; anybody's certificate does.
    Prefer,
    /// Always; anybody's certificate does, unless `sslrootcert` names who must have signed it.
    Require,
    /// Always, with a certificate for that very host.
    VerifyFull,
}

/// What a URL says.
#[derive(Debug)]
pub(super) struct Address {
    /// For the connections. Its `Debug` leaves the password out.
    pub(super) config: Config,
    pub(super) encryption: Encryption,
    /// Who must have signed the server's certificate; the system's authorities where it is not told.
    pub(super) root_certificate: Option<PathBuf>,
    passfile: Option<PathBuf>,
}

impl Address {
    /// Reads a URL. No error repeats any part of it: it may hold a password in an unexpected place.
    pub(super) fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |reason| ConnectError::Url { reason };
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(invalid("it does not start with postgres:// or postgresql://"));
        }
        // A question mark in the user's part belongs to a password.
        let after_user = url.find('@').unwrap_or(0);
        let (front, query) = match url[after_user..].find('?') {
            Some(at) => (&url[..after_user + at], &url[after_user + at + 1..]),
            None => (url, ""),
        };
        let (mut encryption, mut root_certificate, mut passfile) = (Encryption::Prefer, None, None);
        let mut left = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => encryption = encryption_of(value)?,
                "sslrootcert" => root_certificate = Some(path_of(value)?),
                "passfile" => passfile = Some(path_of(value)?),
                _ => left.push(parameter),
            }
        }
        let rest = match left.as_slice() {
            [] => front.to_owned(),
            left => format!("{front}?{}", left.join("&")),
        };
        let mut config: Config = rest
            .parse()
            .map_err(|_| invalid("a part of it is malformed, or a parameter is not known"))?;
        config.ssl_mode(match encryption {
            Encryption::Disable => SslMode::Disable,
            Encryption::Prefer => SslMode::Prefer,
            Encryption::Require | Encryption::VerifyFull => SslMode::Require,
        });
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("it names no host"));
        }
        Ok(Self {
            config,
            encryption,
            root_certificate,
            passfile,
        })
    }

    /// Gives the connections a password, where the URL has none: `password`, else the one of the password file that the
    /// URL names, else the one of `passfile`.
    pub(super) fn find_password(
        &mut self,
        password: Option<&str>,
        passfile: Option<&Path>,
    ) -> Result<(), ConnectError> {
        if self.config.get_password().is_some() {
            return Ok(());
        }
        if let Some(password) = password {
            self.config.password(password);
            return Ok(());
        }
        let (path, is_named) = match (&self.passfile, passfile) {
            (Some(path), _) => (path.as_path(), true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(()),
        };
        let text = match read_private(path) {
            Ok(text) => text,
            // The usual place of the file may well be empty.
            Err(_) if !is_named && !path.exists() => return Ok(()),
            Err(reason) => {
                return Err(ConnectError::Passfile {
                    path: path.to_owned(),
                    reason,
                });
            }
        };
        if let Some(password) = password_for(&text, &self.config) {
            self.config.password(password);
        }
        Ok(())
    }

    /// The database and its server, for messages.
    pub(super) fn place(&self) -> String {
        let database = self.config.get_dbname().or(self.config.get_user());
        let database = database.unwrap_or("of this user").escape_debug().to_string();
        match self.host() {
            Some(host) => format!("{database} on {}", host.escape_debug()),
            None => database,
        }
    }

    /// Whether bytes to it stay within this machine.
    pub(super) fn is_local(&self) -> bool {
        let addresses = self.config.get_hostaddrs();
        if !addresses.is_empty() {
            return addresses.iter().all(|address| address.is_loopback());
        }
        self.config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        })
    }

    fn host(&self) -> Option<String> {
        match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => Some(name.clone()),
            #[cfg(unix)]
            Some(Host::Unix(path)) => Some(path.display().to_string()),
            None => self.config.get_hostaddrs().first().map(ToString::to_string),
        }
    }
}

fn encryption_of(word: &str) -> Result<Encryption, ConnectError> {
    Ok(match word {
        "disable" => Encryption::Disable,
        "allow" | "prefer" => Encryption::Prefer,
        "require" => Encryption::Require,
        "verify-full" => Encryption::VerifyFull,
        _ => {
            return Err(ConnectError::Url {
                reason: "its sslmode is none of disable, prefer, require and verify-full",
            });
        }
    })
}

fn path_of(value: &str) -> Result<PathBuf, ConnectError> {
    let path = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| ConnectError::Url {
            reason: "the name of a file in it is not UTF-8",
        })?;
    Ok(PathBuf::from(path.into_owned()))
}

fn read_private(path: &Path) -> Result<String, &'static str> {
    let facts = fs::metadata(path).map_err(|_| "it could not be opened")?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o077 != 0 {
        return Err("others may read it; make it private with 'chmod 600'");
    }
    // No password file has a mebibyte; a device that never ends is none.
    if !facts.is_file() || facts.len() > 1024 * 1024 {
        return Err("it is not a file of lines");
    }
    fs::read_to_string(path).map_err(|_| "it could not be read")
}

/// The password of the first line that fits: `host:port:database:user:password`, where `*` fits all and a backslash
/// takes the meaning from `:` and itself (PostgreSQL's documentation, "The Password File").
fn password_for(text: &str, config: &Config) -> Option<String> {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        // As libpq calls every socket in its default folder, and others by their path.
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.to_str()?,
        None => "localhost",
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let [of_host, of_port, of_database, of_user, password] = fields.as_slice() else {
                return None;
            };
            let fits = [
                (of_host, host),
                (of_port, port.as_str()),
                (of_database, database),
                (of_user, user),
            ]
            .iter()
            .all(|(pattern, value)| *pattern == "*" || pattern == value);
            fits.then(|| password.clone())
        })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            // The password is the last field, colons included.
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => characters.next(),
            other => Some(other),
        };
        if let (Some(character), Some(field)) = (character, fields.last_mut()) {
            field.push(character);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let address = Address::parse(
            "postgresql://ann:se?cret@db.example:6543/forge?sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20x.pem&application_name=x",
        )
        .unwrap();
        assert_eq!(address.encryption, Encryption::VerifyFull);
        assert_eq!(
            address.root_certificate.as_deref(),
            Some(Path::new("/etc/ca x.pem"))
        );
        assert_eq!(address.config.get_password(), Some("se?cret".as_bytes()));
        assert_eq!(address.config.get_application_name(), Some("x"));
        assert_eq!(address.config.get_ports(), [6543]);
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.place(), "forge on db.example");
        assert!(!address.is_local());
        assert!(!format!("{address:?}").contains("cret"), "{address:?}");
    }

    #[test]
    fn sockets_and_loopback_are_local() {
        for (url, local) in [
            ("postgres://%2Frun%2Fpostgresql/forge", true),
            ("postgres:///forge?host=/run/postgresql", true),
            ("postgres://127.0.0.1/forge", true),
            ("postgres://[::1]/forge", true),
            ("postgres://localhost/forge", true),
            ("postgres://10.0.0.1/forge", false),
            ("postgres://localhost,db/forge", false),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_local(), local, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_it() {
        for (url, reason) in [
            (
                "mysql://hunter2@x/y",
                "it does not start with postgres:// or postgresql://",
            ),
            ("postgres:///forge", "it names no host"),
            (
                "postgres://a:hunter2@x/y?sslmode=hunter2",
                "its sslmode is none of disable, prefer, require and verify-full",
            ),
            (
                "postgres://a:b@x/y?hunter2=1",
                "a part of it is malformed, or a parameter is not known",
            ),
            (
                "postgres://a:hunter2@x:port/y",
                "a part of it is malformed, or a parameter is not known",
            ),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the address of the database cannot be used: {reason}")
            );
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_password_file_gives_the_first_line_that_fits() {
        let text = "# comment:*:*:*:no\nother:*:*:*:no\ndb:5432:forge:bob:no\n\
                    db:*:forge:an\\:n:pass\\\\wo:rd\n*:*:*:*:last\n";
        let config = |url: &str| Address::parse(url).unwrap().config;
        assert_eq!(
            password_for(text, &config("postgres://an%3An@db/forge")).as_deref(),
            Some("pass\\wo:rd")
        );
        assert_eq!(
            password_for(text, &config("postgres://ann@db/forge")).as_deref(),
            Some("last")
        );
        assert_eq!(
            password_for("too:few:fields\n", &config("postgres://a@db/f")),
            None
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_password_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        let mut address = Address::parse("postgres://ann@db/forge").unwrap();
        address.find_password(None, Some(&path)).unwrap();
        assert_eq!(address.config.get_password(), None, "an absent file is no error");
        fs::write(&path, "*:*:*:*:hunter2\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = address.find_password(None, Some(&path)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("others may read it; make it private with 'chmod 600'"),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        address.find_password(None, Some(&path)).unwrap();
        assert_eq!(address.config.get_password(), Some("hunter2".as_bytes()));
        let mut address = Address::parse("postgres://ann@db/forge").unwrap();
        address.find_password(Some("given"), Some(&path)).unwrap();
        assert_eq!(address.config.get_password(), Some("given".as_bytes()));
    }
}
