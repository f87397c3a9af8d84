//! Figures on Linux: `/proc` and sysinfo(2).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::system::sysinfo;

use super::Memory;

/// What sysinfo(2) counts the load in: 1 is this much.
const LOAD_SCALE: f64 = 65_536.0;

/// Most of a file that is read: processors repeat themselves.
const MOST: u64 = 16 * 1024;

pub(crate) fn cpu_model() -> Option<String> {
    model_in(&beginning("/proc/cpuinfo").ok()?)
}

pub(crate) fn memory() -> Option<Memory> {
    let info = sysinfo();
    #[allow(clippy::useless_conversion, reason = "the field has 32 bits on 32-bit systems")]
    let units = u64::from(info.totalram);
    let available = beginning("/proc/meminfo").ok();
    Some(Memory {
        total: units.saturating_mul(u64::from(info.mem_unit)),
        available: available.and_then(|text| available_in(&text)),
    })
}

/// Over one minute and over five.
#[allow(clippy::cast_precision_loss, reason = "a load above 2^36 is none")]
pub(crate) fn load_averages() -> Option<[f64; 2]> {
    let [one, five, _] = sysinfo().loads;
    Some([one, five].map(|load| load as f64 / LOAD_SCALE))
}

#[allow(clippy::cast_precision_loss, reason = "exact for 285 million years")]
pub(crate) fn uptime() -> Option<f64> {
    Some(sysinfo().uptime as f64)
}

pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn beginning(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Not every processor has a name in there: many of ARM have none.
fn model_in(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    let model = model.trim();
    (!model.is_empty()).then(|| model.to_owned())
}

/// In bytes; systems before 3.14 do not tell.
fn available_in(meminfo: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_the_kernel_writes_them() {
        let cpu = "processor\t: 0\nmodel\t\t: 158\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\n";
        assert_eq!(model_in(cpu).as_deref(), Some("Intel(R) Xeon(R) CPU @ 2.20GHz"));
        assert_eq!(model_in("processor : 0\nBogoMIPS : 243.75\n"), None);
        assert_eq!(model_in("model name : \n"), None);
        let memory = "MemTotal:       16318480 kB\nMemFree:  100 kB\nMemAvailable:   12000000 kB\n";
        assert_eq!(available_in(memory), Some(12_288_000_000));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
        assert_eq!(available_in("MemAvailable: many\n"), None);
    }
}
