//! The driver against a small bridge in the same process, over streams in memory and a clock that jumps.

mod audit_head;
mod bad_input;
mod device;
mod journal;
mod logs;
mod pulse;
mod redeeming;
mod rig;
mod session;
mod verifying;
