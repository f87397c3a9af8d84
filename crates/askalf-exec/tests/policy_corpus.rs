//! The corpus of the fuzz target `policy`, replayed.

mod policy_case;

#[test]
fn the_corpus_of_the_fuzzer_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/policy");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        policy_case::check(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 5, "{count} inputs");
}
