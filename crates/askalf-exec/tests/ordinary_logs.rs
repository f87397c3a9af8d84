//! What redaction takes out of logs that hold no secret: `cargo xtask prove redaction` makes such logs and names their folder.
#![allow(clippy::unwrap_used, reason = "a helper of a test ends at the first surprise, as the test does")]

use std::collections::BTreeMap;

use askalf_exec::redact::Secrets;

/// Most marks in ten megabytes.
const MOST: f64 = 100.0;

#[test]
#[ignore = "needs a folder of logs: cargo xtask prove redaction"]
fn few_marks_stand_in_ordinary_logs() {
    let folder = std::env::var("ASKALF_ORDINARY_LOGS").unwrap();
    let redaction = Secrets::default().redaction(None);
    let mut bytes = 0;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let out = redaction.text(&text);
        let mut marks = 0;
        for line in out.lines().filter(|line| line.contains("[redacted:")) {
            for mark in line.split("[redacted:").skip(1) {
                let kind = mark.split(']').next().unwrap_or_default();
                *kinds.entry(kind.to_owned()).or_default() += 1;
                marks += 1;
            }
            println!("{}", line.chars().take(200).collect::<String>());
        }
        println!("{}: {} bytes, {marks} marks", path.display(), text.len());
        bytes += text.len();
    }
    let marks: usize = kinds.values().sum();
    let per_10_mb = marks as f64 * 10e6 / bytes as f64;
    println!(
        "proof: {marks} marks in {:.1} MB of ordinary logs ({per_10_mb:.1} in 10 MB): {kinds:?}",
        bytes as f64 / 1e6
    );
    assert!(bytes >= 10_000_000, "only {bytes} bytes of logs");
    assert!(per_10_mb <= MOST, "{per_10_mb} marks in 10 MB");
}
