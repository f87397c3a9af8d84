//! How long it takes to look for tools on the machine that runs the tests: told, not judged.

use std::time::Instant;

use askalf_exec::{TOOLS, find_tools};

#[test]
fn the_look_up_of_all_tools() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).count();
    let began = Instant::now();
    let found = find_tools(&path);
    let took = began.elapsed();
    println!(
        "{} of {} tools in {folders} folders: {took:?}",
        found.len(),
        TOOLS.len()
    );
    assert!(found.iter().all(|found| found.path.is_absolute()));
}
