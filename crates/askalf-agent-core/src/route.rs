//! How to reach a bridge beside its URL: whom to trust, by which proxy, and past which gateway.

mod ca_certificates;
mod gateway_access;
mod proxies;
mod tls_pin;

pub use ca_certificates::{CaCertificates, CaCertificatesError};
pub use gateway_access::{GatewayAccess, GatewayAccessError};
pub use proxies::{Proxies, ProxyError, ProxySettings};
pub use tls_pin::{TlsPin, TlsPinError};

/// Yields the system's root certificates, each as DER. It may block: it is called on a blocking thread, once for each
/// TLS connection, so that renewed ones count without a restart.
pub type PlatformRoots = fn() -> Vec<Vec<u8>>;

/// The way to a bridge.
///
/// A bridge that is dialled by `https` or `wss` must show a certificate for the URL's host that leads to one of the
/// system's roots or to one of [`Route::ca_certificates`], and whose key is one of [`Route::pins`], where there are
/// any. A pin is demanded beside all that and replaces none of it.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Roots beside the system's. A certificate that stands here itself is trusted too, whatever it says about being a CA.
    pub ca_certificates: CaCertificates,
    /// Keys of the bridge's own certificate, of which it must show one; none: any key will do.
    pub pins: Vec<TlsPin>,
    /// The system's roots; `None`: it has none.
    pub platform_roots: Option<PlatformRoots>,
    /// Proxies by the kind and host of a URL.
    pub proxies: Proxies,
    /// What a gateway in front of the bridge demands.
    pub gateway: Option<GatewayAccess>,
}
