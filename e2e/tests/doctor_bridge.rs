//! `doctor` on the way to the bridge: each layer fails for real, is named, and nothing behind it is guessed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Certificates, Habit, KEY, OldForge};
use rcgen::date_time_ymd;
use serde_json::Value;

fn set_up(url: &str, more: &[&str]) -> Result<Agent> {
    let mut agent = Agent::new()?;
    for name in [
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "https_proxy",
        "http_proxy",
        "all_proxy",
    ] {
        agent.set_variable(name, "");
    }
    let arguments = ["connect", "-", "--url", url, "--no-verify", "--insecure"];
    let arguments: Vec<&str> = arguments.iter().chain(more).copied().collect();
    agent.run_with_input(&arguments, KEY.as_bytes())?.expect_code(0)?;
    Ok(agent)
}

/// The exit code, and the checks.
fn doctor(agent: &Agent) -> Result<(i32, Value)> {
    let output = agent.run_alone(&["doctor", "--json"])?;
    let json = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((output.code, json))
}

fn says(report: &(i32, Value), id: &str, outcome: &str, reason: &str, saw: &str) -> Result<()> {
    let checks = report.1["checks"].as_array().context("checks")?;
    let check = checks
        .iter()
        .find(|check| check["id"] == id)
        .context("no such check")?;
    ensure!(
        check["outcome"] == outcome
            && check["reason"].as_str().unwrap_or_default() == reason
            && check["saw"].as_str().is_some_and(|text| text.contains(saw)),
        "{check}"
    );
    ensure!(
        outcome != "problem" || check["next"].as_str().is_some_and(|next| !next.is_empty()),
        "it says what to do: {check}"
    );
    Ok(())
}

/// Answers each connection with these bytes, after the head of its request.
fn answering(answer: String) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || serve(stream, &answer));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, answer: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    if !head.is_empty() {
        // Whoever left does not want it.
        let _gone = stream.write_all(answer.as_bytes());
    }
}

/// A port of this machine that nobody listens on.
fn closed() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[test]
fn a_name_that_leads_nowhere() -> Result<()> {
    let agent = set_up("https://bridge.invalid", &[])?;
    let report = doctor(&agent)?;
    ensure!(report.0 == 69, "{report:?}");
    says(
        &report,
        "dns",
        "problem",
        "name-lookup",
        "bridge.invalid cannot be looked up",
    )?;
    says(&report, "tcp", "skipped", "", "see 'dns'")?;
    for id in ["tls", "upgrade", "token"] {
        says(&report, id, "skipped", "", "see 'dns'")?;
    }
    says(&report, "clock", "skipped", "", "did not tell the time")
}

#[test]
fn a_port_where_nobody_listens() -> Result<()> {
    let address = closed()?;
    let agent = set_up(&format!("ws://{address}"), &[])?;
    let report = doctor(&agent)?;
    ensure!(report.0 == 69, "{report:?}");
    says(&report, "dns", "ok", "", "127.0.0.1")?;
    says(&report, "tcp", "problem", "unreachable", &format!("{address}: "))?;
    says(&report, "token", "skipped", "", "see 'tcp'")
}

#[test]
fn certificates_that_are_not_the_wanted_ones() -> Result<()> {
    let certificates = Certificates::new()?;
    let bridge = Bridge::start_secured(&certificates)?;
    let ca = certificates.ca().display().to_string();
    let unknown = doctor(&set_up(&bridge.secure_url(), &[])?)?;
    // Without any root of the system's the first reason is another one.
    let reason = unknown.1["checks"][19]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        ["certificate-unknown-issuer", "no-root-certificates"].contains(&reason.as_str()),
        "{reason}"
    );
    says(&unknown, "tls", "problem", &reason, "")?;
    says(&unknown, "upgrade", "skipped", "", "see 'tls'")?;

    let pin = "0".repeat(64);
    let pinned = doctor(&set_up(
        &bridge.secure_url(),
        &["--ca-file", &ca, "--tls-pin", &pin],
    )?)?;
    says(&pinned, "tls", "problem", "certificate-not-pinned", &pin)?;

    let trusted = doctor(&set_up(&bridge.secure_url(), &["--ca-file", &ca])?)?;
    says(&trusted, "tls", "ok", "", "shows a trusted certificate; its key ")?;
    says(&trusted, "tls", "ok", "", " is not pinned")?;
    says(&trusted, "upgrade", "ok", "", "")?;
    says(&trusted, "token", "problem", "unknown", "")?;
    ensure!(trusted.0 == 78, "a key that no bridge knows");

    let expired = Certificates::new()?;
    expired.issue(|params| params.not_after = date_time_ymd(2001, 1, 1))?;
    let bridge = Bridge::start_secured(&expired)?;
    let ca = expired.ca().display().to_string();
    let report = doctor(&set_up(&bridge.secure_url(), &["--ca-file", &ca])?)?;
    says(&report, "tls", "problem", "certificate-expired", "it has expired")
}

#[test]
fn a_server_that_is_no_bridge_and_a_clock_that_is_off() -> Result<()> {
    let answer = |date: &str| {
        format!("HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    let address = answering(answer("Sun, 06 Nov 1994 08:49:37 GMT"))?;
    let report = doctor(&set_up(&format!("ws://{address}"), &[])?)?;
    says(
        &report,
        "upgrade",
        "problem",
        "wrong-url",
        "the server answered 404",
    )?;
    says(&report, "token", "skipped", "", "see 'upgrade'")?;
    says(
        &report,
        "clock",
        "problem",
        "clock-skew",
        "s ahead of the bridge's",
    )?;

    let address = answering(answer("the day before yesterday"))?;
    let report = doctor(&set_up(&format!("ws://{address}"), &[])?)?;
    says(&report, "clock", "skipped", "", "in no form that is known")?;

    let address = answering("SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned())?;
    let report = doctor(&set_up(&format!("ws://{address}"), &[])?)?;
    says(&report, "upgrade", "problem", "not-a-bridge", "")
}

#[test]
fn keys_that_are_refused_and_a_user_that_is_gone() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    let report = doctor(&agent)?;
    ensure!(report.0 == 0, "{report:?}");
    bridge.run(&["keys", "revoke", &key.id])?.expect_code(0)?;
    let report = doctor(&agent)?;
    ensure!(report.0 == 78, "{report:?}");
    says(&report, "token", "problem", "revoked", "")?;
    agent.spawn()?;
    agent.wait_state("repair_required")?;
    let report = doctor(&agent)?;
    says(&report, "daemon", "problem", "revoked", "repair_required")?;
    says(&report, "token", "problem", "revoked", "")
}

#[test]
fn an_older_forge_is_asked_too_and_nothing_registers() -> Result<()> {
    for habit in [Habit::Prompt, Habit::Drops] {
        let forge = OldForge::start(KEY, habit)?;
        let report = doctor(&set_up(&forge.url(), &[])?)?;
        says(&report, "upgrade", "ok", "", "")?;
        says(&report, "token", "ok", "", "the bridge takes the key")?;
        let events = format!("{:?}", forge.events());
        ensure!(!events.contains("device:register"), "{events}");
    }
    Ok(())
}

#[test]
fn a_proxy_that_is_away_and_a_setting_that_names_none() -> Result<()> {
    let mut agent = set_up("https://bridge.invalid", &[])?;
    let proxy = closed()?;
    agent.set_variable("HTTPS_PROXY", format!("http://me:hunter2@{proxy}"));
    let report = doctor(&agent)?;
    ensure!(
        report.0 == 69 && !report.1.to_string().contains("hunter2"),
        "{report:?}"
    );
    says(
        &report,
        "proxy",
        "problem",
        "proxy-unreachable",
        "127.0.0.1 port ",
    )?;
    says(&report, "dns", "skipped", "", "the proxy looks up")?;
    says(&report, "tls", "skipped", "", "see 'proxy'")?;

    agent.set_variable("HTTPS_PROXY", "gopher://hunter2");
    let report = doctor(&agent)?;
    ensure!(report.0 == 78, "{report:?}");
    says(
        &report,
        "proxy",
        "problem",
        "proxy-setting",
        "HTTPS_PROXY does not name a proxy",
    )?;
    says(&report, "token", "skipped", "", "see 'proxy'")
}

/// A listener whose queue is full: the system drops what else comes, as a firewall does.
struct BlackHole {
    _listener: std::os::fd::OwnedFd,
    _waiting: Vec<TcpStream>,
    address: SocketAddr,
}

impl BlackHole {
    fn new() -> Result<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

        let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listen(&listener, 0)?;
        let address = SocketAddr::try_from(getsockname(&listener)?)?;
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            ensure!(waiting.len() < 64, "the queue of the system has no end");
        }
        Ok(Self {
            _listener: listener,
            _waiting: waiting,
            address,
        })
    }
}

#[test]
fn a_bridge_that_swallows_everything_is_told_within_fifteen_seconds() -> Result<()> {
    let hole = BlackHole::new()?;
    let agent = set_up(&format!("ws://{}", hole.address), &[])?;
    let start = Instant::now();
    let report = doctor(&agent)?;
    ensure!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    ensure!(report.0 == 69, "{report:?}");
    says(&report, "tcp", "problem", "unreachable", "no answer within 3 s")?;

    // One that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let agent = set_up(&format!("https://localhost:{}", silent.local_addr()?.port()), &[])?;
    let start = Instant::now();
    let report = doctor(&agent)?;
    ensure!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    says(
        &report,
        "tls",
        "problem",
        "no-answer",
        "did not finish the TLS handshake",
    )
}
