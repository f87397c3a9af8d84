//! Every stream that fuzzing found worth keeping, once more, and many that nobody kept.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

mod executor_json_case;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use executor_json_case::check;

#[test]
fn the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/executor_json");
    let mut replayed = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 10, "the corpus has {replayed} streams");
}

/// Pieces of real streams, broken ones and bytes of any kind.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(r#"{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"#),
        Just(r#"{"type":"result","subtype":"error_max_turns","is_error":true,"num_turns":"#),
        Just(r#"{"type":"result","result":"a","total_cost_usd":-1e309,"usage":{"input_tokens":1e30}}"#),
        Just(r#"{"type":"item.completed","item":{"type":"agent_message","text":"\u0000é\ud83d"}}"#),
        Just(r#"{"type":"turn.failed","error":{"message":"a\u0007b"}}"#),
        Just(r#"{"type":"turn.completed","usage":{"input_tokens":18446744073709551615}}"#),
        Just("\"x\"}]}}"),
        Just("7}"),
        Just("\n"),
        Just("\r\n"),
    ];
    prop_oneof![
        3 => known.prop_map(|text| text.as_bytes().to_owned()),
        1 => prop::collection::vec(any::<u8>(), 0..24),
    ]
}

proptest! {
    #[test]
    fn any_stream(cut in any::<u8>(), fragments in prop::collection::vec(fragment(), 0..24)) {
        let mut data = vec![cut];
        data.extend(fragments.concat());
        check(&data);
    }
}
