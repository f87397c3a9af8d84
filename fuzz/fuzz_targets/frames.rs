//! Frames of either side meet anything. What is read can be written, and reads the same again; nothing is larger than it
//! came in by more than its escapes.

#![no_main]

use askalf_proto::{AgentMessage, BridgeMessage, decode_agent, decode_bridge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(message) = decode_agent(text) {
        again(&message, AgentMessage::encode, decode_agent);
        let _printable = format!("{message:?}");
    }
    if let Ok(message) = decode_bridge(text) {
        again(&message, BridgeMessage::encode, decode_bridge);
        let _printable = format!("{message:?}");
    }
});

fn again<M: std::fmt::Debug, E: std::fmt::Debug, D: std::fmt::Debug>(
    message: &M,
    encode: impl Fn(&M) -> Result<String, E>,
    decode: impl Fn(&str) -> Result<M, D>,
) {
    // What was read with default values may be too large to be sent by us.
    let Ok(written) = encode(message) else { return };
    let read = decode(&written).expect("what was written can be read");
    let rewritten = encode(&read).expect("what was read can be written again");
    assert_eq!(written, rewritten, "reading what was written changes it");
}
