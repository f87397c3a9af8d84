#![doc = include_str!("../README.md")]

pub mod api;
mod authenticate;
mod bridge;
mod dispatch;
mod grace;
mod http;
mod hub;
mod ids;
mod link;
mod options;
mod orphans;
mod server;
mod session;
pub mod stores;
mod watchers;

pub use bridge::{Bridge, Clock};
pub use http::{Transport, router};
pub use options::BridgeOptions;
pub use server::{Listener, PeerAddr, PeerUid, ServeOptions, TransportSecurity, serve};
