//! The driver against a small bridge in the same process.
