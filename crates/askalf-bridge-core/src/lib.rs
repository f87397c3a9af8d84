#![doc = include_str!("../README.md")]

pub mod api;
mod bridge;
mod http;
mod ids;
mod options;
mod server;
pub mod stores;

pub use bridge::{Bridge, Clock};
pub use http::{Transport, router};
pub use options::BridgeOptions;
pub use server::{Listener, PeerUid, ServeOptions, serve};
