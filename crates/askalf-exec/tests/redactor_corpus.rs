//! What the fuzzer found worth keeping, replayed without it.

mod redactor_case;

/// `fuzz/corpus/redactor`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/redactor");

#[test]
fn every_input_of_the_corpus_holds() -> std::io::Result<()> {
    let mut inputs = 0;
    for entry in std::fs::read_dir(CORPUS)? {
        let path = entry?.path();
        println!("{}", path.display());
        redactor_case::check(&std::fs::read(&path)?);
        inputs += 1;
    }
    assert!(inputs >= 20, "only {inputs} inputs: the corpus is not there");
    Ok(())
}
