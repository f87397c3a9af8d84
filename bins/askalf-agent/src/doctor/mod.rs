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

use askalf_cli::{ExitCode, Failure, print, print_json};
use askalf_cred::Home;

use crate::cli::Doctor;
use crate::environment;
use crate::vault::Vault;
use finding::exit_code;
use report::Report;
use subject::{Subject, blocking, hangs};

pub(crate) async fn doctor(vault: &Vault, arguments: &Doctor) -> anyhow::Result<ExitCode> {
    if arguments.fix {
        refuse_another_users(vault.home())?;
    }
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

/// Repairs are for who owns the folder: what root makes there is of no use to its agent, and links there lead root anywhere.
#[cfg(unix)]
fn refuse_another_users(home: &Home) -> Result<(), Failure> {
    let facts = home.path().symlink_metadata();
    let Some(owner) = facts.ok().and_then(|facts| askalf_cli::owner(&facts)) else {
        return Ok(());
    };
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Permission,
        format!(
            "{} is user {owner}'s, who alone repairs what is in it",
            home.path().display()
        ),
    )
    .hint(format!(
        "sudo -u '#{owner}' askalf-agent --home {} doctor --fix",
        home.path().display()
    )))
}

#[cfg(not(unix))]
fn refuse_another_users(_home: &Home) -> Result<(), Failure> {
    Ok(())
}

fn notice(text: &str) {
    #[expect(clippy::print_stderr, reason = "progress for who waits at a terminal")]
    {
        eprintln!("{text}");
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_repairs_nothing_in_another_users_folder() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        refuse_another_users(&home).unwrap();
        refuse_another_users(&Home::new(folder.path().join("none"))).unwrap();
        if !rustix::process::geteuid().is_root() {
            println!("not run: it takes root to give a folder away");
            return;
        }
        std::os::unix::fs::chown(folder.path(), Some(4_001), None).unwrap();
        let refused = refuse_another_users(&home).unwrap_err();
        assert!(refused.to_string().contains("user 4001's"), "{refused}");
        assert!(refused.hint_text().unwrap().contains("sudo -u '#4001'"));
    }
}
