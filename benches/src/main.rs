//! Measures the check of a token: one derivation by four libraries, checks beside the number of keys, the old algorithm, a fleet.
//!
//! Prints Markdown. With a PostgreSQL URL of an empty database as its argument it fills that too; with `fleet` it measures the fleet
//! alone.
#![allow(clippy::print_stdout, reason = "this is a command line")]

mod check;
mod checks;
mod derivation;
mod figures;
mod fill;
mod fleet;
mod old;
mod postgres;

use anyhow::Result;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if std::env::args().nth(1).as_deref() == Some("fleet") {
        println!("{}", runtime.block_on(fleet::run())?);
        return Ok(());
    }
    println!("{}", derivation::run()?);
    runtime.block_on(async {
        println!("{}", checks::on_sqlite().await?);
        if let Some(url) = std::env::args().nth(1) {
            println!("{}", postgres::run(&url).await?);
        }
        println!("{}", old::run().await?);
        println!("{}", fleet::run().await?);
        Ok(())
    })
}
