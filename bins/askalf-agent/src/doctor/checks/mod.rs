//! The checks, one file each, in the order in which they are shown.

mod clock;
mod config;
mod credential;
mod daemon;
mod disk_space;
mod dns;
mod home;
mod journal;
mod key_in_arguments;
mod key_in_unit;
mod keyfile;
mod leftovers;
mod old_agent;
mod one_machine;
mod permissions;
mod policy;
mod proxy;
mod service;
mod state_folder;
mod tcp;
mod tls;
mod token;
mod upgrade;

use askalf_agent_core::{Examined, Layer};
use askalf_cred::Home;

use super::finding::Finding;
use super::subject::{Daemon, Subject};

/// Judges everything.
pub(super) fn judge(subject: &Subject) -> Vec<Finding> {
    let checks: [fn(&Subject) -> Finding; 23] = [
        home::check,
        permissions::check,
        state_folder::check,
        disk_space::check,
        leftovers::check,
        config::check,
        keyfile::check,
        credential::check,
        policy::check,
        journal::check,
        daemon::check,
        one_machine::check,
        service::check,
        old_agent::check,
        key_in_arguments::check,
        key_in_unit::check,
        proxy::check,
        dns::check,
        tcp::check,
        tls::check,
        upgrade::check,
        clock::check,
        token::check,
    ];
    checks.into_iter().map(|check| check(subject)).collect()
}

/// Repairs what is safe to repair: ids of checks, each with what was done.
pub(super) fn repair(home: &Home) -> Vec<(&'static str, String)> {
    let mut done = permissions::repair(home);
    done.extend(state_folder::repair(home));
    done.extend(leftovers::repair(home));
    done
}

/// What was met on the way to the bridge; else a check that is skipped.
fn way<'a>(subject: &'a Subject, id: &'static str) -> Result<&'a Examined, Finding> {
    match &subject.way {
        Some(way) => Ok(way),
        None if subject.endpoint().is_none() => Err(Finding::skipped(
            id,
            "no bridge that can be dialled is configured: see 'config'",
        )),
        None if subject.proxies.is_err() => Err(Finding::skipped(id, "see 'proxy'")),
        None => Err(Finding::skipped(
            id,
            "the way to the bridge cannot be taken: see 'config'",
        )),
    }
}

/// One layer of the way: what is wrong with it, or that it was not reached.
fn layer<'a>(subject: &'a Subject, id: &'static str, layer: Layer) -> Result<&'a Examined, Finding> {
    let way = way(subject, id)?;
    if let Some(verdict) = way.fault_at(layer) {
        return Err(Finding::of_verdict(id, verdict));
    }
    if way.is_good(layer) {
        return Ok(way);
    }
    let failed = way.fault.as_ref().map_or("config", |(at, _)| name(*at));
    Err(Finding::skipped(
        id,
        format!("the connection does not come so far: see '{failed}'"),
    ))
}

/// The check of a layer.
fn name(layer: Layer) -> &'static str {
    match layer {
        Layer::Name => dns::ID,
        Layer::Connection => tcp::ID,
        Layer::Proxy => proxy::ID,
        Layer::Tls => tls::ID,
        Layer::Upgrade => upgrade::ID,
        Layer::Key => token::ID,
    }
}
