//! What an operator may set.

use std::num::NonZeroUsize;
use std::time::Duration;

use askalf_bridge_auth::BridgeSecret;

/// How a bridge behaves. Every field has a default that fits a fleet of some thousand devices on one small machine.
///
/// ```
/// use std::time::Duration;
/// use askalf_bridge_core::BridgeOptions;
///
/// let options = BridgeOptions { interrupted_grace: Duration::from_secs(5), ..BridgeOptions::default() };
/// assert_eq!(options.heartbeat_timeout, Duration::from_secs(90));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Refuse the forge's older keys (scopes read, write, execute) at the socket. Off by default.
    pub strict_scopes: bool,
    /// The bridge's secret, by which returning devices are known without a derivation. Without it each check derives.
    pub secret: Option<BridgeSecret>,
    /// How often the keys of live sessions are checked again, at the latest: 30 s.
    pub recheck_interval: Duration,
    /// Accept a token in the query of the URL, where proxies log it; with a warning each time. On by default, since the
    /// oldest agents know no other way.
    pub allow_query_token: bool,
    /// How long an authenticated socket may stay without a registration: 30 s.
    pub register_timeout: Duration,
    /// How often a device is asked to beat: 30 s.
    pub heartbeat_interval: Duration,
    /// How long a device may be silent before its socket is closed with 4002: 90 s.
    pub heartbeat_timeout: Duration,
    /// After how many heartbeats the device is asked again what it can do: 10.
    pub heartbeats_per_scan: u32,
    /// How long the executions of a device that is gone stay open before they end `interrupted`: 150 s, which a cut of a minute and
    /// the longest pause of an agent's retries fit into. Counted from the
    /// end of its socket, and from the start of the bridge.
    pub interrupted_grace: Duration,
    /// How old a task may be that is sent again to a device that came back without it: 1 hour. An older one ends `expired`:
    /// what somebody wanted then may not be wanted now.
    pub redelivery_limit: Duration,
    /// How long one frame may take to be written before the peer counts as stuck: 20 s.
    pub write_timeout: Duration,
    /// How long a closed socket is kept for the peer to read the reason: 2 s.
    pub close_timeout: Duration,
    /// How long a shutdown waits for its sessions: 5 s.
    pub shutdown_timeout: Duration,
    /// How many key derivations run at once: one more than there are cores, so that no core stands idle while the place of a
    /// derivation that has ended passes to the next.
    pub derivations: usize,
    /// How many checks may wait for a derivation before more are answered `overloaded`: 1024, about 5 s of two cores.
    pub derivations_waiting: usize,
    /// What an overloaded bridge tells its peers to wait: 5 s.
    pub overloaded_retry_after: Duration,
    /// What a bridge whose database fails tells its peers to wait: 5 s.
    pub unavailable_retry_after: Duration,
    /// How many frames may wait for one device before its socket is closed as too slow: 64.
    pub outgoing_frames: usize,
    /// How many bytes may wait for one device before its socket is closed as too slow: 4 MiB.
    pub outgoing_bytes: usize,
    /// How many events may wait for one reader of an execution before pieces are left out: 256.
    pub watcher_events: usize,
    /// How many bytes of output may wait for one reader of an execution before pieces are left out: 1 MiB.
    pub watcher_bytes: usize,
    /// How long a reader of an execution may hold up the device's socket while it makes room, before it counts as slow and
    /// pieces are left out: 100 ms.
    pub watcher_patience: Duration,
    /// How many frames without sense a device may send in a minute before its socket is closed with 1002: 100.
    pub bad_frames_per_minute: u32,
    /// How often a quiet stream of events says that it is alive: 15 s.
    pub idle_event_interval: Duration,
    /// How old the key of a device may become before the bridge rotates it over the device's connection; never where this is
    /// `None`. Keys become due over the last tenth of it, and at most 20 rotations begin in a round.
    pub rotate_every: Option<Duration>,
    /// How long a device may take to prove a new key before its rotation is given up: 10 min.
    pub rotation_timeout: Duration,
    /// Time between two rounds that look for rotations which are due or stuck: 60 s.
    pub rotation_round: Duration,
    /// Exchange pairing codes that come in plain text over a network. Off by default: only for a bridge that a proxy which
    /// speaks TLS alone can reach.
    pub plain_pairing: bool,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            strict_scopes: false,
            secret: None,
            recheck_interval: Duration::from_secs(30),
            allow_query_token: true,
            register_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(90),
            heartbeats_per_scan: 10,
            interrupted_grace: Duration::from_secs(150),
            redelivery_limit: Duration::from_secs(60 * 60),
            write_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(5),
            derivations: 1 + std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            derivations_waiting: 1024,
            overloaded_retry_after: Duration::from_secs(5),
            unavailable_retry_after: Duration::from_secs(5),
            outgoing_frames: 64,
            outgoing_bytes: 4 * 1024 * 1024,
            watcher_events: 256,
            watcher_bytes: 1024 * 1024,
            watcher_patience: Duration::from_millis(100),
            bad_frames_per_minute: 100,
            idle_event_interval: Duration::from_secs(15),
            rotate_every: None,
            rotation_timeout: Duration::from_secs(10 * 60),
            rotation_round: Duration::from_secs(60),
            plain_pairing: false,
        }
    }
}
