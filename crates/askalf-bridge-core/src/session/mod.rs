//! Sessions of devices: one WebSocket each.

mod allowance;
mod bad_frames;
mod connection;
mod conversation;
mod executions;
mod refusal;
mod rotation;
mod token;
mod upgrade;

pub(crate) use refusal::say_shutdown;
pub(crate) use token::bearer;
pub(crate) use upgrade::upgrade;
