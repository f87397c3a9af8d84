//! What PostgreSQL alone must do, and the databases that the tests run on.

pub(crate) mod catalogue;
pub(crate) mod cluster;
pub(crate) mod database;

mod connecting;
mod faults;
mod one_bridge;
mod plans;
mod rows;
