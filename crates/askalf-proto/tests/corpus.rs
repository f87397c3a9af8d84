//! The corpus of the fuzz target `frames`, replayed.

use std::fs;
use std::path::Path;

use askalf_proto::{decode_agent, decode_bridge};

#[test]
fn what_was_read_is_written_and_read_the_same_again() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frames");
    let (mut read, mut refused) = (0, 0);
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let (agent, bridge) = (decode_agent(&text), decode_bridge(&text));
        if let Ok(written) = agent.as_ref().map(|message| message.encode().unwrap()) {
            let again = decode_agent(&written).unwrap().encode().unwrap();
            assert_eq!(written, again, "{}", path.display());
        }
        if let Ok(written) = bridge.as_ref().map(|message| message.encode().unwrap()) {
            let again = decode_bridge(&written).unwrap().encode().unwrap();
            assert_eq!(written, again, "{}", path.display());
        }
        if agent.is_ok() || bridge.is_ok() {
            read += 1;
        } else {
            refused += 1;
        }
    }
    assert!(read >= 100 && refused >= 100, "{read} read, {refused} refused");
}
