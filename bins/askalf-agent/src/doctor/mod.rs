//! `doctor`: looks at everything between the files of this device and the bridge, says what is wrong and what to do.
//!
//! First everything is looked at, by [`Subject`]; then each check judges what was seen. A check that cannot say anything because
//! another one failed is skipped and names it.

mod bundle;
mod checks;
mod finding;
mod processes;
mod report;
mod secrets;
mod subject;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use askalf_cli::{ExitCode, print, print_json};

use crate::cli::Doctor;
use crate::environment;
use crate::vault::Vault;
use finding::exit_code;
use report::Report;
use subject::{Subject, blocking, hangs};

pub(crate) async fn doctor(vault: &Vault, arguments: &Doctor) -> anyhow::Result<ExitCode> {
    // Before anything takes its time.
    let bundle = arguments.bundle.as_deref().map(bundle::create).transpose()?;
    let mut repairs = Vec::new();
    if arguments.fix {
        let home = vault.home().clone();
        let repaired = blocking(move || checks::repair(&home)).await;
        repairs = repaired.ok_or_else(|| hangs(vault.home()))?;
    }
    if io::stderr().is_terminal() && !arguments.json {
        notice("Looking at this device and at the way to its bridge ...");
    }
    let subject = Arc::new(Subject::look(vault).await?);
    let judged = Arc::clone(&subject);
    let mut findings = blocking(move || checks::judge(&judged))
        .await
        .ok_or_else(|| hangs(vault.home()))?;
    for (id, done) in repairs {
        if let Some(finding) = findings.iter_mut().find(|finding| finding.id == id) {
            finding.fixed.push(done);
        }
    }
    let code = exit_code(&findings);
    let report = Report::new(&subject, findings, code);
    if arguments.json {
        print_json(&serde_json::to_string(&report)?)?;
    } else {
        let plain = environment::variable("NO_COLOR").is_some() || !io::stdout().is_terminal();
        print(&report.text(!plain))?;
    }
    if let Some(bundle) = bundle {
        let path = bundle.write(&subject, &report)?;
        if !arguments.json {
            print(&format!(
                "The report is in {}; look through it before you send it.\n",
                path.display()
            ))?;
        }
    }
    Ok(code)
}

fn notice(text: &str) {
    #[expect(clippy::print_stderr, reason = "progress for who waits at a terminal")]
    {
        eprintln!("{text}");
    }
}
