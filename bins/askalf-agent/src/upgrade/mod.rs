//! A newer agent from a package on this machine: checked, put in the place of the old one, and taken back where it does not register.
//!
//! At each step the name of the program stands for a whole program, the old one or the new one. An upgrade that dies leaves either,
//! the old one beside it from the swap on, and nothing that the next upgrade would trip over.

mod package;
mod place;
mod release_key;
mod restart;
mod version;

pub(crate) use package::Package;
pub(crate) use place::Place;
pub(crate) use release_key::ReleaseKey;
pub(crate) use restart::Restart;
pub(crate) use version::{Version, version_of};
