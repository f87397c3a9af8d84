//! What the fuzzer found worth keeping, replayed without it.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod agent_json_case;
mod common;

/// `fuzz/corpus/agent_json`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/agent_json");

#[test]
fn every_input_of_the_corpus_holds() {
    let mut inputs = 0;
    for entry in std::fs::read_dir(CORPUS).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        agent_json_case::check(&std::fs::read(&path).unwrap(), &|act| act());
        inputs += 1;
    }
    assert!(inputs > 100, "only {inputs} inputs: the corpus is not there");
    println!("proof: {inputs} inputs of the fuzzer's corpus hold");
}
