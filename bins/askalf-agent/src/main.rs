//! The askalf agent.
fn main() {}
