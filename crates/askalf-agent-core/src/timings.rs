//! Every span of time that the agent's connection knows.

use std::time::Duration;

/// How long the agent waits for what. The defaults are the ones of the specification; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// Longest wait for a TCP connection, name lookup included.
    pub connect: Duration,
    /// Longest wait for the bridge's answer to the upgrade request; before it, as long for a proxy's answer and for the
    /// TLS handshake.
    pub handshake: Duration,
    /// Longest wait for `device:registered` before registering again: older forges drop what arrives while they
    /// check the key.
    pub registration: Duration,
    /// How often the device registers on one socket before it gives that socket up.
    pub registration_tries: u32,
    /// Time between heartbeats where the bridge names none.
    pub heartbeat: Duration,
    /// Shortest time between heartbeats that a bridge may ask for.
    pub heartbeat_min: Duration,
    /// Longest time between heartbeats that a bridge may ask for: it ends a device that was silent for 90 s.
    pub heartbeat_max: Duration,
    /// First window of the backoff; it doubles with each failure.
    pub backoff_first: Duration,
    /// Largest window of the backoff.
    pub backoff_max: Duration,
    /// Largest window after a session that was registered, but not for [`Timings::settled`].
    pub backoff_short_session: Duration,
    /// How long a session must stay registered before the backoff starts anew.
    pub settled: Duration,
    /// Longest wait that a bridge may ask for by `retryAfterMs` or `Retry-After`.
    pub retry_after_max: Duration,
    /// Wait before the one more try after an `AUTH_FAILED` without a reason.
    pub second_try: Duration,
    /// Mean time between attempts in `repair_required`: a bridge may have been restored.
    pub recheck: Duration,
    /// The same where the bridge gave no reason: each attempt costs such a forge a derivation per stored key.
    pub recheck_unexplained: Duration,
    /// Mean wait where only a person can help, but nothing says that the key is bad: wrong URL, foreign certificate,
    /// a second machine with the same key.
    pub slow_retry: Duration,
    /// Two replacements within this time mean that another machine uses the key.
    pub replaced_twice: Duration,
    /// Time between looks for a new credential while the agent is not connected.
    pub credential_poll: Duration,
    /// First wait for an `execution:ack` before a result is sent again on the same socket; it doubles.
    pub acknowledgement: Duration,
    /// How long the socket of a peer that acknowledges nothing must live on after its pong for a result to count as taken.
    pub settled_result: Duration,
    /// How long a result is kept, and sent again, that such a peer has read, while its sockets die sooner than that.
    pub keep_unacknowledged: Duration,
    /// How long a stop may wait for running tasks and for their results to be delivered.
    pub stop: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(15),
            registration: Duration::from_secs(5),
            registration_tries: 3,
            heartbeat: Duration::from_secs(30),
            heartbeat_min: Duration::from_secs(5),
            heartbeat_max: Duration::from_secs(60),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            backoff_short_session: Duration::from_secs(8),
            settled: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(5 * 60),
            second_try: Duration::from_secs(30),
            recheck: Duration::from_secs(10 * 60),
            recheck_unexplained: Duration::from_secs(60 * 60),
            slow_retry: Duration::from_secs(2 * 60),
            replaced_twice: Duration::from_secs(60),
            credential_poll: Duration::from_secs(1),
            acknowledgement: Duration::from_secs(30),
            settled_result: Duration::from_secs(60),
            keep_unacknowledged: Duration::from_secs(24 * 60 * 60),
            stop: Duration::from_secs(10),
        }
    }
}
