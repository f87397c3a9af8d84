//! Leaves the names of functions out of release builds, a megabyte of the program. Cargo does not pass the profile's `strip` on to
//! a package that has an `opt-level` of its own.
#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    // The linker of macOS has no such word.
    if is("PROFILE", "release") && !is("CARGO_CFG_TARGET_OS", "macos") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
