//! The askalf bridge.
fn main() {}
