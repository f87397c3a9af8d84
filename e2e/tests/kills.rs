//! The short form of `cargo xtask prove faults`: both sides killed under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use askalf_e2e::binaries;
use askalf_e2e::kills::{Plan, kill_again_and_again};

#[test]
fn accepted_executions_end_once_while_both_sides_are_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let report = kill_again_and_again(
        binaries()?,
        folder.path(),
        Plan {
            windows: 1,
            killing: Duration::from_secs(15),
            between: (Duration::from_secs(2), Duration::from_secs(4)),
            rate: 10,
            grace: Duration::from_secs(15),
            seed: 1,
        },
    )?;
    println!("{report}");
    ensure!(report.agent_kills >= 3 && report.bridge_kills >= 3, "{report}");
    ensure!(report.compared > 20, "{report}");
    Ok(())
}
