//! The facts on Windows.

use askalf_cred::Interface;

/// The machine's DNS name without its domain, as Node reports it.
pub(super) fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// The name of the user that this process runs as. Unset for some services, where no agent of those generations ran.
pub(super) fn username() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}

/// None: the addresses of network cards cannot be read here. A file of agent 3.0 to 3.2, whose key is derived from them, does
/// not unseal then, and its device asks to be paired again.
pub(super) fn interfaces() -> Vec<Interface> {
    Vec::new()
}
