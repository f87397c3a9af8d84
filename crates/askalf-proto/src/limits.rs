//! Sizes beyond which a message is refused before anything is allocated for it.

/// Largest frame that a peer accepts, in bytes (16 MiB): sixteen times what we send, since agents of
/// older generations put a whole output into one frame.
pub const MAX_FRAME_IN: usize = 16 * 1024 * 1024;

/// Largest frame that we send, in bytes (1 MiB).
pub const MAX_FRAME_OUT: usize = 1024 * 1024;

/// Largest payload of a message that carries neither input nor output, in bytes (64 KiB). The largest
/// real one, a registration with all capabilities, is below 4 KiB.
pub const MAX_CONTROL_PAYLOAD: usize = 64 * 1024;

/// Longest identifier (execution, device, agent, user), in bytes. A ULID with its prefix has 30.
pub const MAX_ID: usize = 128;

/// Longest name or single-line text (device name, host name, version), in bytes: the forge's columns hold 255.
pub const MAX_NAME: usize = 255;

/// Most executions that a device may say it holds in one registration: as many of the longest identifiers leave a third
/// of [`MAX_CONTROL_PAYLOAD`] to what the device says of itself.
pub const MAX_HELD_EXECUTIONS: usize = 256;

/// Length of an audit log's head, in hex digits: a 256-bit digest.
pub const AUDIT_HEAD_LEN: usize = 64;

/// Bytes kept free for everything but `output` and `error` in a frame that carries a result.
pub const RESULT_OVERHEAD: usize = 16 * 1024;
