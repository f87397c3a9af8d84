//! Who may open the agent's pipe. The one file of this crate with `unsafe`.

#![allow(
    unsafe_code,
    reason = "the runtime takes an access list only as a pointer; the block says why it is sound"
)]

use std::ffi::OsStr;
use std::io;

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;

/// All rights on a pipe (`FILE_ALL_ACCESS`), as its bytes lie in memory.
const ALL: [u8; 4] = 0x001F_01FF_u32.to_le_bytes();

/// A security descriptor in one block of memory, as MS-DTYP 2.4.6 lays it out: an access list that inherits nothing and
/// lets in the owner (`S-1-3-4`), the system (`S-1-5-18`) and administrators (`S-1-5-32-544`). Owner and group are those
/// that the system gives what this process makes.
#[repr(C, align(8))]
struct Descriptor {
    /// Revision 1; the DACL is there, protected, and in this block; its place is behind the 20 bytes of this header.
    header: [u8; 20],
    /// Revision 2, 72 bytes with its entries, 3 entries.
    list: [u8; 8],
    owner: Entry<12>,
    system: Entry<12>,
    administrators: Entry<16>,
}

#[repr(C)]
struct Entry<const SID: usize> {
    /// Access allowed, not inherited, and the size of the entry.
    head: [u8; 4],
    rights: [u8; 4],
    sid: [u8; SID],
}

static DESCRIPTOR: Descriptor = Descriptor {
    header: [1, 0, 0x04, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0],
    list: [2, 0, 72, 0, 3, 0, 0, 0],
    owner: Entry {
        head: [0, 0, 20, 0],
        rights: ALL,
        sid: [1, 1, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0],
    },
    system: Entry {
        head: [0, 0, 20, 0],
        rights: ALL,
        sid: [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0],
    },
    administrators: Entry {
        head: [0, 0, 24, 0],
        rights: ALL,
        sid: [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0],
    },
};

/// Makes an instance of the pipe. The `first` one fails where the name exists, whoever made it.
pub(super) fn create(name: &OsStr, first: bool) -> io::Result<NamedPipeServer> {
    let mut attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
        lpSecurityDescriptor: (&raw const DESCRIPTOR).cast_mut().cast(),
        bInheritHandle: 0,
    };
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: the pointer is to a SECURITY_ATTRIBUTES that lives through the call, and that one's to a self-relative security
    // descriptor that lives for ever. The system reads both, copies them, and writes to neither.
    unsafe { options.create_with_security_attributes_raw(name, (&raw mut attributes).cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_in_the_descriptor_are_its_own() {
        let entries = size_of::<Entry<12>>() * 2 + size_of::<Entry<16>>();
        let list = size_of_val(&DESCRIPTOR.list) + entries;
        assert_eq!(usize::from(DESCRIPTOR.list[2]), list);
        assert_eq!(
            usize::from(DESCRIPTOR.header[16]),
            size_of_val(&DESCRIPTOR.header)
        );
        assert_eq!(usize::from(DESCRIPTOR.owner.head[2]), size_of::<Entry<12>>());
        assert_eq!(usize::from(DESCRIPTOR.system.head[2]), size_of::<Entry<12>>());
        assert_eq!(
            usize::from(DESCRIPTOR.administrators.head[2]),
            size_of::<Entry<16>>()
        );
    }
}
