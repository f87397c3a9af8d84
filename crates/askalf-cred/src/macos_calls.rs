//! The call of macOS that neither std nor rustix makes. The one file of this crate with `unsafe` for it. Never run: the tests of
//! this crate run on Linux, and under Wine.

#![allow(unsafe_code, reason = "no maintained crate has a safe call for it; the block says why it is sound")]

/// Lets no debugger attach to this process; one that is attached ends it.
pub(crate) fn deny_attach() -> bool {
    // SAFETY: with `PT_DENY_ATTACH` the call looks at none of its other arguments, and touches no memory of this process.
    unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) == 0 }
}
