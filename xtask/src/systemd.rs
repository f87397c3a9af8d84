//! `cargo xtask test-systemd`: the agent as a service of a real systemd.

use anyhow::{Result, ensure};

use crate::container::Container;
use crate::{rootfs, tools};

/// Boots a container, and says how long that took.
pub(crate) fn test(arguments: &[&str]) -> Result<()> {
    let _ = arguments;
    ensure!(
        tools::is_root(),
        "a container is booted by root: run this as root"
    );
    tools::require(&rootfs::tools())?;
    let (mut container, took) = Container::boot("services", |_| Ok(()))?;
    println!(
        "booted in {:.1} s, {}",
        took.as_secs_f64(),
        container.root().display()
    );
    println!("{}", container.shell("systemctl --version; uname -n")?);
    let took = container.reboot()?;
    println!("rebooted in {:.1} s", took.as_secs_f64());
    println!("{:?}", container.network_command());
    Ok(())
}
