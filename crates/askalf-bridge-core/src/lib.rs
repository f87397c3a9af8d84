#![doc = include_str!("../README.md")]

pub mod api;
mod attempts;
mod authenticate;
mod bridge;
mod counters;
mod derivations;
mod digests;
mod dispatch;
mod follow;
mod grace;
mod http;
mod hub;
mod ids;
mod keeper;
mod link;
mod live_keys;
mod malformed_prefixes;
mod network;
mod options;
mod orphans;
mod recheck;
mod redelivery;
mod rotation;
mod server;
mod session;
pub mod stores;
mod throttle;
mod uses;
mod watchers;

pub use bridge::{Bridge, Clock};
pub use http::{Transport, router};
pub use options::BridgeOptions;
pub use server::{Listener, PeerAddr, PeerUid, ServeOptions, ServerTls, TlsError, TransportSecurity, serve};
