//! The wire secured: certificates, pins, and what happens when they change.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, Certificates};
use rustix::process::Signal;

/// `pair` with a key on standard input and these arguments, and the CA of `certificates`.
fn pair(
    agent: &Agent,
    url: &str,
    key: &str,
    certificates: &Certificates,
    more: &[&str],
) -> Result<askalf_e2e::Output> {
    let ca = certificates.ca();
    let mut arguments = vec![
        "pair",
        "-",
        "--url",
        url,
        "--ca-file",
        ca.to_str().context("UTF-8")?,
    ];
    arguments.extend(more);
    agent.run_with_input(&arguments, key.as_bytes())
}

/// An agent that is paired and online by TLS.
fn online(bridge: &Bridge, certificates: &Certificates, more: &[&str]) -> Result<(Agent, String)> {
    let mut agent = Agent::new()?;
    let key = bridge.mint("laptop")?.key;
    pair(&agent, &bridge.secure_url(), &key, certificates, more)?.expect_code(0)?;
    let device = agent.start()?;
    Ok((agent, device))
}

/// The fingerprint in the last line of the bridge's log that names one.
fn fingerprint(bridge: &Bridge, skip: usize) -> Result<String> {
    bridge.server()?.wait_line_after(skip, "fingerprint", |line| {
        let found = line.text.split_once("has the fingerprint ")?.1;
        Some(found.trim().to_owned())
    })
}

fn reload(bridge: &Bridge) -> Result<usize> {
    let skip = bridge.server()?.lines().len();
    bridge.server()?.signal(Signal::HUP)?;
    Ok(skip)
}

#[test]
fn a_device_registers_and_works_over_tls() -> Result<()> {
    let certificates = Certificates::new()?;
    let bridge = Bridge::start_secured(&certificates)?;
    let (agent, device) = online(&bridge, &certificates, &[])?;
    let output = bridge.dispatch(&device, "echo $((6 * 7))")?.expect_code(0)?;
    ensure!(output.stdout == "42\n", "{}", output.stdout);
    let status = agent.status()?;
    ensure!(status["bridge"] == format!("wss://localhost:{}/ws/agent-bridge", bridge.address().port()));
    Ok(())
}

#[test]
fn the_way_to_a_bridge_is_kept_for_that_bridge_and_dropped_for_another() -> Result<()> {
    let certificates = Certificates::new()?;
    let agent = Agent::new()?;
    let pin = "ab".repeat(32);
    let config = || -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(
            agent.home().join("agent.json"),
        )?)?)
    };
    let secret = agent.home().with_file_name("cf-secret");
    fs::write(&secret, "0123456789abcdef\n")?;
    let secret = secret.to_str().context("UTF-8")?;
    let access = ["--cf-access-id", "id.access", "--cf-access-secret-file", secret];
    let more = [&["--no-verify", "--tls-pin", &pin][..], &access].concat();
    let url = "https://bridge.invalid:3005";
    pair(&agent, url, askalf_e2e::KEY, &certificates, &more)?.expect_code(0)?;
    let first = config()?;
    ensure!(
        first["tlsPins"][0] == pin && first["cfAccessId"] == "id.access",
        "{first}"
    );
    ensure!(first["caFile"] == certificates.ca().to_str().context("UTF-8")?);
    ensure!(first["cfAccessSecretFile"] == secret && !first.to_string().contains("0123456789abcdef\""));

    let pair_again = |url: &str| {
        agent
            .run_with_input(
                &["pair", "-", "--no-verify", "--url", url],
                askalf_e2e::KEY.as_bytes(),
            )?
            .expect_code(0)
    };
    pair_again("wss://BRIDGE.invalid:3005/")?;
    ensure!(config()?["tlsPins"][0] == pin, "the same bridge");
    pair_again("https://bridge.invalid")?;
    let other = config()?;
    for field in ["caFile", "tlsPins", "cfAccessId", "cfAccessSecretFile"] {
        ensure!(other[field].is_null(), "{other}");
    }
    Ok(())
}

#[test]
fn a_bridge_that_nobody_vouches_for_gets_no_key() -> Result<()> {
    let (certificates, others) = (Certificates::new()?, Certificates::new()?);
    let bridge = Bridge::start_secured(&certificates)?;
    let agent = Agent::new()?;
    let key = bridge.mint("laptop")?.key;
    let refused = pair(&agent, &bridge.secure_url(), &key, &others, &[])?.expect_code(69)?;
    ensure!(
        refused
            .stderr
            .contains("nothing that this device trusts has issued it"),
        "{}",
        refused.stderr
    );
    ensure!(
        refused.stderr.contains(&fingerprint(&bridge, 0)?),
        "{}",
        refused.stderr
    );
    ensure!(!agent.home().join("agent.json").exists());
    let lines = bridge.server()?.lines();
    ensure!(lines.iter().all(|line| !line.text.contains(&key)));
    Ok(())
}

#[test]
fn a_certificate_that_vouches_for_itself_is_called_so_and_serves_once_it_is_named() -> Result<()> {
    let certificates = Certificates::new()?;
    certificates.issue_own()?;
    let bridge = Bridge::start_secured(&certificates)?;
    let agent = Agent::new()?;
    let key = bridge.mint("laptop")?.key;
    let pair = ["pair", "-", "--url", &bridge.secure_url()];
    let refused = agent.run_with_input(&pair, key.as_bytes())?.expect_code(69)?;
    for words in ["it vouches for itself", "--ca-file FILE"] {
        ensure!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let plain = format!("http://localhost:{}", bridge.address().port());
    let refused = agent
        .run_with_input(&["pair", "-", "--url", &plain], key.as_bytes())?
        .expect_code(69)?;
    ensure!(
        refused.stderr.contains("it starts with https://"),
        "{}",
        refused.stderr
    );
    let named = certificates.chain();
    let named = ["--ca-file", named.to_str().context("UTF-8")?];
    agent
        .run_with_input(&[&pair[..], &named].concat(), key.as_bytes())?
        .expect_code(0)?;
    Ok(())
}

#[test]
fn another_certificate_is_taken_up_without_dropping_sessions_and_a_pin_notices_it() -> Result<()> {
    let certificates = Certificates::new()?;
    let mut bridge = Bridge::start_secured(&certificates)?;
    let first = fingerprint(&bridge, 0)?;
    let (agent, device) = online(&bridge, &certificates, &["--tls-pin", &first])?;

    certificates.issue(|_| {})?;
    let skip = reload(&bridge)?;
    let second = fingerprint(&bridge, skip)?;
    ensure!(first != second);
    ensure!(agent.registrations() == 1, "the session stayed");
    bridge.dispatch(&device, "true")?.expect_code(0)?;

    fs::write(certificates.chain(), "no certificate")?;
    let skip = reload(&bridge)?;
    bridge.server()?.wait_line_after(skip, "complaint", |line| {
        line.text.contains("stays as it is").then_some(())
    })?;

    certificates.issue(|_| {})?;
    bridge.terminate()?;
    bridge.serve()?;
    let third = fingerprint(&bridge, 0)?;
    let refused = askalf_e2e::until("the pin to be missed", || {
        let status = agent.status()?;
        Ok((status["reason"] == "certificate-not-pinned").then_some(status))
    })?;
    let detail = refused["detail"].as_str().unwrap_or_default();
    ensure!(refused["state"] == "backoff");
    ensure!(detail.contains(&first) && detail.contains(&third), "{detail}");

    let skip = agent.daemon()?.lines().len();
    let key = bridge.mint("again")?.key;
    let url = bridge.secure_url();
    let paired = agent.run_with_input(&["pair", "-", "--url", &url, "--tls-pin", &third], key.as_bytes())?;
    paired.expect_code(0)?;
    agent.wait_registered_after(skip)?;
    Ok(())
}

#[test]
fn a_ca_file_that_goes_is_a_fault_of_the_device_until_it_is_back() -> Result<()> {
    let certificates = Certificates::new()?;
    let mut bridge = Bridge::start_secured(&certificates)?;
    let (mut agent, _) = online(&bridge, &certificates, &[])?;
    let ca = fs::read(certificates.ca())?;
    agent.terminate()?;
    fs::remove_file(certificates.ca())?;
    agent.spawn()?;
    let status = agent.wait_state("local_fault")?;
    ensure!(status["reason"] == "ca-file-unreadable", "{status}");
    fs::write(certificates.ca(), ca)?;
    agent.wait_registered()?;
    bridge.terminate()?;
    Ok(())
}

#[test]
fn a_certificate_that_ends_soon_is_warned_about_and_one_that_has_ended_is_refused() -> Result<()> {
    let in_days = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400 + 3_600);
    let certificates = Certificates::new()?;
    certificates.issue(|params| params.not_after = in_days(9).into())?;
    let bridge = Bridge::start_secured(&certificates)?;
    bridge.server()?.wait_line("warning", |line| {
        line.text.contains("expires in 9 days").then_some(())
    })?;
    certificates.issue(|params| params.not_after = in_days(15).into())?;
    let skip = reload(&bridge)?;
    fingerprint(&bridge, skip)?;
    certificates.issue(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    })?;
    let again = reload(&bridge)?;
    bridge.server()?.wait_line_after(again, "error", |line| {
        line.text.contains("has expired").then_some(())
    })?;
    let lines = bridge.server()?.lines();
    ensure!(
        lines[skip..again]
            .iter()
            .all(|line| !line.text.contains("expire"))
    );

    let agent = Agent::new()?;
    let key = bridge.mint("laptop")?.key;
    let refused = pair(&agent, &bridge.secure_url(), &key, &certificates, &[])?.expect_code(69)?;
    ensure!(refused.stderr.contains("it has expired"), "{}", refused.stderr);
    ensure!(
        refused.stderr.contains("check this device's clock"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn a_key_that_others_can_read_is_not_served() -> Result<()> {
    let certificates = Certificates::new()?;
    fs::set_permissions(certificates.key(), fs::Permissions::from_mode(0o644))?;
    let bridge = Bridge::start()?;
    let (chain, key) = (certificates.chain(), certificates.key());
    let (chain, key) = (chain.to_str().context("UTF-8")?, key.to_str().context("UTF-8")?);
    let other = tempfile::tempdir()?;
    let home = other.path().to_str().context("UTF-8")?;
    let serve = [
        "--home",
        home,
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        chain,
        "--tls-key",
        key,
    ];
    let refused = bridge.run(&serve)?.expect_code(77)?;
    ensure!(
        refused.stderr.contains("others can read or change it"),
        "{}",
        refused.stderr
    );
    ensure!(refused.stderr.contains("chmod o-rwx,g-wx"), "{}", refused.stderr);

    fs::set_permissions(certificates.key(), fs::Permissions::from_mode(0o600))?;
    fs::write(certificates.chain(), "nothing")?;
    let refused = bridge.run(&serve)?.expect_code(78)?;
    ensure!(
        refused.stderr.contains("there is no certificate in it"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn a_daemon_whose_proxy_setting_cannot_be_read_says_so_and_dials_nobody() -> Result<()> {
    let mut agent = Agent::new()?;
    agent.set_variable("HTTPS_PROXY", "gopher://me:hunter2@proxy");
    let refused = agent.run(&["daemon"])?.expect_code(78)?;
    ensure!(
        refused.stderr.contains("HTTPS_PROXY does not name a proxy"),
        "{}",
        refused.stderr
    );
    ensure!(!refused.stderr.contains("hunter2"));
    agent.set_variable("HTTPS_PROXY", OsString::from_vec(b"http://\xff".to_vec()));
    let refused = agent.run(&["daemon"])?.expect_code(78)?;
    ensure!(
        refused.stderr.contains("HTTPS_PROXY is not UTF-8"),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// A pairing code with these arguments.
fn code(bridge: &Bridge, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["pair-code", "new", "--json"];
    all.extend(arguments);
    let made = bridge.run(&all)?.expect_code(0)?.json()?;
    made["code"].as_str().map(str::to_owned).context("no code")
}

#[test]
fn a_code_pairs_a_device_and_another_one_pairs_it_again_as_the_same() -> Result<()> {
    let certificates = Certificates::new()?;
    let bridge = Bridge::start_secured(&certificates)?;
    let (ca, url) = (certificates.ca(), bridge.secure_url());
    let ca = ca.to_str().context("UTF-8")?;
    let mut agent = Agent::new()?;
    let first = code(&bridge, &["--name", "kitchen"])?;
    let typed = first.to_lowercase().replace('-', " ");
    let paired = agent
        .run(&["pair", &typed, "--url", &url, "--ca-file", ca])?
        .expect_code(0)?;
    ensure!(
        paired.stdout.contains("Paired: the bridge at"),
        "{}",
        paired.stdout
    );
    ensure!(!agent.home().join("state/pair-nonce").exists());
    let device = agent.start()?;
    let devices = bridge.devices()?;
    ensure!(
        devices.len() == 1 && devices[0]["device_name"] == "kitchen",
        "{devices:?}"
    );

    let stranger = Agent::new()?;
    let refused = stranger
        .run(&["pair", &first, "--url", &url, "--ca-file", ca])?
        .expect_code(78)?;
    ensure!(
        refused.stderr.contains("not, or no longer, good"),
        "{}",
        refused.stderr
    );
    ensure!(!stranger.home().join("agent.json").exists());

    // URL and CA come from the file, the code from standard input.
    let skip = agent.daemon()?.lines().len();
    let second = code(&bridge, &["--name", "again", "--device", &device])?;
    agent
        .run_with_input(&["pair", "-"], format!("{second}\n").as_bytes())?
        .expect_code(0)?;
    ensure!(agent.wait_registered_after(skip)? == device);
    ensure!(bridge.devices()?.len() == 1);
    Ok(())
}

#[test]
fn a_pair_that_was_cut_off_goes_on_with_the_same_code() -> Result<()> {
    let certificates = Certificates::new()?;
    let bridge = Bridge::start_secured(&certificates)?;
    let (ca, url) = (certificates.ca(), bridge.secure_url());
    let ca = ca.to_str().context("UTF-8")?;
    let agent = Agent::new()?;
    let code = code(&bridge, &["--name", "kitchen"])?;
    let pair = ["pair", &code, "--url", &url, "--ca-file", ca];
    // What a `pair` leaves that dies after the exchange: its nonce, and no key.
    let nonce = agent.home().join("state/pair-nonce");
    let leave = || -> Result<()> {
        fs::create_dir_all(agent.home().join("state"))?;
        fs::set_permissions(agent.home(), fs::Permissions::from_mode(0o700))?;
        Ok(fs::write(&nonce, "000102030405060708090a0b0c0d0e0f\n")?)
    };
    leave()?;
    agent
        .run(&[&pair[..], &["--no-verify"]].concat())?
        .expect_code(0)?;
    fs::remove_file(agent.home().join("agent.json"))?;
    leave()?;
    agent.run(&pair)?.expect_code(0)?;
    ensure!(!nonce.exists());
    let keys = bridge.run(&["keys", "list", "--json"])?.json()?;
    ensure!(keys.as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
    Ok(())
}

#[test]
fn what_is_no_code_and_no_key_is_sent_nowhere() -> Result<()> {
    let agent = Agent::new()?;
    // Nobody listens: whatever were sent would fail otherwise.
    for (given, text) in [
        ("K7QM-2F9X-TBX4", "the pairing code is mistyped"),
        ("dear-diary", "no known shape of a key"),
    ] {
        let refused = agent
            .run(&["pair", given, "--url", "https://127.0.0.1:1"])?
            .expect_code(2)?;
        ensure!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    let remote = [
        "pair",
        "K7QM-2F9X-TBX3",
        "--url",
        "http://bridge.invalid",
        "--insecure",
    ];
    let refused = agent.run(&remote)?.expect_code(78)?;
    ensure!(
        refused
            .stderr
            .contains("would cross the network to bridge.invalid in plain text"),
        "{}",
        refused.stderr
    );
    ensure!(!agent.home().join("agent.json").exists());
    Ok(())
}
