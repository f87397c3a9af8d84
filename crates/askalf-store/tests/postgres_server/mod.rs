//! What PostgreSQL alone must do, and the databases that the tests run on.

pub(crate) mod cluster;
mod connecting;
pub(crate) mod database;
