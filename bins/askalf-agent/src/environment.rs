//! What comes from outside: the home folder and the variables that the agent knows.

use std::path::PathBuf;

use askalf_agent_core::{Proxies, ProxySettings};
use askalf_bridge_auth::Token;
use askalf_cli::{ExitCode, Failure};
use askalf_cred::Home;
use zeroize::Zeroizing;

/// The folder that was named, or `~/.askalf`.
pub(crate) fn home(named: Option<PathBuf>) -> Result<Home, Failure> {
    let folder = named.or_else(|| {
        std::env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(".askalf"))
    });
    // A relative name is taken from here, once: what runs in it later may be somewhere else.
    folder
        .and_then(|folder| std::path::absolute(folder).ok())
        .map(Home::new)
        .ok_or_else(|| {
            Failure::new(
                ExitCode::Configuration,
                "there is no home folder to keep the agent's files in",
            )
            .hint("name a folder with --home DIR or ASKALF_HOME")
        })
}

/// The home folder of the user, where there is one.
pub(crate) fn user_home() -> Option<PathBuf> {
    std::env::home_dir().filter(|folder| folder.is_absolute() && folder.is_dir())
}

/// The folder of the user's settings: `XDG_CONFIG_HOME`, else `~/.config`.
#[cfg(target_os = "linux")]
pub(crate) fn config_folder() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| user_home().map(|home| home.join(".config")))
}

/// The key in `ASKALF_API_KEY`, if there is one.
pub(crate) fn api_key() -> Result<Option<Token>, Failure> {
    let Some(text) = std::env::var_os("ASKALF_API_KEY").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = Zeroizing::new(text.into_string().unwrap_or_default());
    Token::parse(text.trim())
        .map(Some)
        .map_err(|error| Failure::new(ExitCode::Usage, format!("ASKALF_API_KEY: {error}")).hint(error.hint()))
}

/// The proxies of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, or of their lower-case spellings.
pub(crate) fn proxies() -> Result<Proxies, Failure> {
    let settings = ProxySettings {
        https: either("HTTPS_PROXY")?,
        http: either("HTTP_PROXY")?,
        all: either("ALL_PROXY")?,
        no: either("NO_PROXY")?,
    };
    Proxies::new(&settings).map_err(|error| Failure::new(ExitCode::Configuration, error).hint(error.hint()))
}

/// A variable by this name or its lower-case spelling; empty where neither is set. One that cannot be read is not passed over:
/// the agent would dial directly.
fn either(name: &str) -> Result<String, Failure> {
    let read = |name: &str| {
        let value = std::env::var_os(name).unwrap_or_default().into_string();
        value.map_err(|_| {
            Failure::new(ExitCode::Configuration, format!("{name} is not UTF-8"))
                .hint("set it anew in plain characters, or unset it")
        })
    };
    let value = read(name)?;
    if value.is_empty() {
        return read(&name.to_lowercase());
    }
    Ok(value)
}

/// What a service manager that waits for this process has set.
#[cfg(target_os = "linux")]
pub(crate) fn service_manager() -> crate::sd_notify::Surroundings {
    crate::sd_notify::Surroundings {
        socket: std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
        watchdog_usec: variable("WATCHDOG_USEC"),
        watchdog_pid: variable("WATCHDOG_PID"),
    }
}

/// A variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
