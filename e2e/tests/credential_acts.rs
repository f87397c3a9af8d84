//! What people do with a credential: seal it anew, move it, take it over from an older agent, put it under a passphrase.

use std::fs;

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge};
use serde_json::{Value, json};

#[test]
fn a_new_keyfile_serves_a_running_agent_and_the_next_one() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, device) = Agent::online(&bridge, "web-01")?;
    let keyfile = fs::read(agent.home().join("keyfile"))?;
    let ids = agent.run(&["cred", "rotate-key", "--json"])?.json()?;
    ensure!(ids["old_key_id"] != ids["key_id"], "{ids}");
    ensure!(fs::read(agent.home().join("keyfile"))? != keyfile);
    ensure!(!agent.home().join("keyfile.next").exists());
    ensure!(
        bridge
            .run(&["dispatch", "web-01", "--", "echo still here"])?
            .expect_code(0)?
            .stdout
            == "still here\n"
    );
    agent.kill()?;
    ensure!(agent.start()? == device);
    Ok(())
}

#[test]
fn an_exported_device_keeps_its_identity_on_other_hardware() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut old, device) = Agent::online(&bridge, "web-01")?;
    let bundle = old.home().join("device.bundle");
    let passphrase = old.home().join("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n")?;
    let (bundle, passphrase) = (bundle.display().to_string(), passphrase.display().to_string());
    let export = [
        "cred",
        "export",
        "--out",
        &bundle,
        "--passphrase-file",
        &passphrase,
    ];
    old.run(&export)?.expect_code(0)?;
    let again = old.run(&export)?.expect_code(1)?;
    ensure!(
        again.stderr.contains("name a file that does not exist yet"),
        "{again:?}"
    );
    old.terminate()?;

    let mut new = Agent::new()?;
    let wrong = old.home().join("wrong");
    fs::write(&wrong, "incorrect horse\n")?;
    let refused = new
        .run(&[
            "cred",
            "import",
            &bundle,
            "--passphrase-file",
            &wrong.display().to_string(),
        ])?
        .expect_code(1)?;
    ensure!(
        refused
            .stderr
            .contains("the passphrase is wrong, or the file is damaged"),
        "{refused:?}"
    );
    ensure!(
        !new.home().join("agent.json").exists(),
        "nothing is written for a bundle that does not unseal"
    );

    let import = ["cred", "import", &bundle, "--passphrase-file", &passphrase];
    new.run(&import)?.expect_code(0)?;
    ensure!(new.start()? == device);
    let refused = new.run(&import)?.expect_code(78)?;
    ensure!(
        refused.stderr.contains("this device has a key already"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_plaintext_file_of_an_older_agent_is_sealed_once_and_says_so() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let mut agent = Agent::new()?;
    fs::create_dir_all(agent.home())?;
    let old = json!({"apiKey": key.key, "url": bridge.url(), "deviceName": "web-01", "installedBy": {"npm": "2.4.1"}});
    fs::write(agent.home().join("agent.json"), old.to_string())?;
    let device = agent.start()?;
    agent.daemon()?.wait_line("migration", |line| {
        line.text
            .contains("the key lay unsealed in agent.json: it is sealed under the keyfile now")
            .then_some(())
    })?;
    let text = fs::read_to_string(agent.home().join("agent.json"))?;
    ensure!(!text.contains(&key.key));
    let new: Value = serde_json::from_str(&text)?;
    ensure!(
        new["installedBy"] == old["installedBy"] && new["_encrypted"] == true,
        "{text}"
    );

    let sealed = agent.on_disk()?;
    agent.kill()?;
    ensure!(agent.start()? == device);
    ensure!(agent.on_disk()? == sealed, "the second start writes nothing");
    Ok(())
}

#[test]
fn a_passphrase_is_needed_at_each_start_and_is_never_guessed_around() -> Result<()> {
    let bridge = Bridge::start()?;
    let key = bridge.mint("web-01")?;
    let mut agent = Agent::new()?;
    fs::create_dir_all(agent.home())?;
    let file = agent.home().join("passphrase");
    fs::write(&file, "correct horse battery staple\n")?;
    let file = file.display().to_string();
    let url = bridge.url();
    agent
        .run_with_input(
            &[
                "connect",
                "-",
                "--url",
                &url,
                "--name",
                "web-01",
                "--seal",
                "passphrase",
                "--passphrase-file",
                &file,
            ],
            key.key.as_bytes(),
        )?
        .expect_code(0)?;
    ensure!(!agent.home().join("keyfile").exists(), "no key lies beside it");
    agent
        .run(&["cred", "verify", "--passphrase-file", &file])?
        .expect_code(0)?;
    let locked = agent.run(&["cred", "verify"])?.expect_code(78)?;
    ensure!(
        locked.stderr.contains("a passphrase, which was not given"),
        "{locked:?}"
    );

    let sealed = agent.on_disk()?;
    let pair = agent.pair(&url, "web-01", &key.key)?.expect_code(78)?;
    ensure!(
        pair.stderr.contains("a passphrase, which was not given"),
        "{pair:?}"
    );
    ensure!(
        agent.on_disk()? == sealed,
        "what a passphrase would unseal is not moved aside"
    );

    agent.set_variable("ASKALF_PASSPHRASE_FILE", &file);
    agent.start()?;
    ensure!(agent.on_disk()? == sealed);
    Ok(())
}

#[test]
fn a_lost_keyfile_costs_the_key_alone() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    fs::remove_file(agent.home().join("keyfile"))?;
    // Neither URL nor name again: they stand in the file that its key is lost to.
    agent
        .run_with_input(&["pair"], key.key.as_bytes())?
        .expect_code(0)?;
    agent.start()?;
    let devices = bridge.run(&["devices", "list", "--json"])?.json()?;
    ensure!(
        devices[0]["device_name"] == "web-01" && devices[1].is_null(),
        "{devices}"
    );
    Ok(())
}

#[test]
fn a_name_means_the_device_that_is_connected() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, old) = Agent::online(&bridge, "web-01")?;
    let key = bridge.mint("web-01 again")?;
    let paired = agent.pair(&bridge.url(), "web-01", &key.key)?.expect_code(0)?;
    ensure!(!paired.stdout.contains(&old), "a new key makes a new device");
    agent.terminate()?;
    agent.start()?;
    let devices = bridge.run(&["devices", "list", "--json"])?.json()?;
    ensure!(devices.as_array().map(Vec::len) == Some(2), "{devices}");
    let output = bridge.run(&["dispatch", "web-01", "--", "echo here"])?;
    ensure!(output.code == 0 && output.stdout == "here\n", "{output:?}");
    Ok(())
}

#[test]
fn an_input_that_looks_like_an_option_is_the_shells_to_run() -> Result<()> {
    let bridge = Bridge::start()?;
    let (_agent, device) = Agent::online(&bridge, "web-01")?;
    let output = bridge
        .run(&["dispatch", &device, "--", "--help"])?
        .expect_code(127)?;
    ensure!(output.stderr.contains("--help"), "{output:?}");
    let empty = bridge.run(&["dispatch", &device, "--", " "])?.expect_code(1)?;
    ensure!(empty.stderr.contains("'input' says nothing to do"), "{empty:?}");
    Ok(())
}
