//! Who may do what with a file on Windows: the bytes of a self-relative security descriptor, read and made. The layout is that
//! of MS-DTYP, section 2.4 (`SECURITY_DESCRIPTOR`, `ACL`, `ACE`, `SID`). Plain bytes, so that tests of it run on every system.

use std::fmt;

/// The user that the system itself runs as, `S-1-5-18`.
const SYSTEM: [u32; 1] = [18];
/// The group of administrators, `S-1-5-32-544`.
const ADMINISTRATORS: [u32; 2] = [32, 544];
/// Whoever owns the file, `S-1-3-4`.
const OWNER_RIGHTS: [u32; 1] = [4];

const CREATOR_AUTHORITY: u8 = 3;
const NT_AUTHORITY: u8 = 5;

/// All rights on a file (`FILE_ALL_ACCESS`).
pub(crate) const FILE_ALL_ACCESS: u32 = 0x001F_01FF;

/// The descriptor has a DACL; it inherits nothing; it is one block of memory.
const CONTROL: u16 = 0x0004 | 0x1000 | 0x8000;
const DACL_PRESENT: u16 = 0x0004;
const HEADER_BYTES: usize = 20;
const ACL_HEADER_BYTES: usize = 8;
const ACE_HEADER_BYTES: usize = 8;
/// `ACL_REVISION`.
const ACL_REVISION: u8 = 2;
/// `OBJECT_INHERIT_ACE` and `CONTAINER_INHERIT_ACE`: what is made in the folder gets the entry too.
const INHERITED_BY_ALL: u8 = 0x03;
/// `INHERIT_ONLY_ACE`: the entry is for what is made in the folder, not for the folder.
const INHERIT_ONLY: u8 = 0x08;

/// A user or a group.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sid(Vec<u8>);

impl Sid {
    pub(crate) fn system() -> Self {
        Self::of(NT_AUTHORITY, &SYSTEM)
    }

    pub(crate) fn administrators() -> Self {
        Self::of(NT_AUTHORITY, &ADMINISTRATORS)
    }

    pub(crate) fn owner_rights() -> Self {
        Self::of(CREATOR_AUTHORITY, &OWNER_RIGHTS)
    }

    pub(crate) fn of(authority: u8, parts: &[u32]) -> Self {
        // A SID has at most 15 parts; none of ours has more.
        let count = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![1, count, 0, 0, 0, 0, 0, authority];
        bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        Self(bytes)
    }

    /// The SID that these bytes begin with.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let parts = usize::from(*bytes.get(1)?);
        let known = bytes.first() == Some(&1) && parts <= 15;
        known
            .then(|| bytes.get(..8 + 4 * parts))
            .flatten()
            .map(|bytes| Self(bytes.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Sid {
    /// As `S-1-5-32-544`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, parts) = self.0.split_at(8);
        let authority = head[2..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        write!(f, "S-1-{authority}")?;
        for part in parts.chunks_exact(4) {
            write!(
                f,
                "-{}",
                part.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom an entry lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grantee {
    Sid(Sid),
    /// There is no list at all: the system then lets everybody do everything.
    EverybodyForWantOfAList,
    /// An entry of a kind that this program does not know. It may let anybody in.
    Unknown,
}

/// What a security descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) owner: Option<Sid>,
    /// Each that is let in for anything, once, in the order of the list. Entries that deny are not weighed against them.
    pub(crate) granted: Vec<Grantee>,
}

impl Security {
    /// `None` if the bytes are no descriptor.
    pub(crate) fn read(descriptor: &[u8]) -> Option<Self> {
        let control = u16_at(descriptor, 2)?;
        let owner = match usize::try_from(u32_at(descriptor, 4)?).ok()? {
            0 => None,
            at => Some(Sid::read(descriptor.get(at..)?)?),
        };
        let granted = match usize::try_from(u32_at(descriptor, 16)?).ok()? {
            at if at != 0 && control & DACL_PRESENT != 0 => grantees(descriptor.get(at..)?)?,
            _ => vec![Grantee::EverybodyForWantOfAList],
        };
        Some(Self { owner, granted })
    }

    /// Whether the owner is one that this user trusts with its files: itself, the system, the administrators.
    pub(crate) fn is_owned_by(&self, us: &Sid) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner == us || is_the_machines(owner))
    }

    /// Whoever else than this user, the system and the administrators is let in.
    pub(crate) fn others(&self, us: &Sid) -> Vec<&Grantee> {
        let trusted = |sid: &Sid| sid == us || is_the_machines(sid) || *sid == Sid::owner_rights();
        self.granted
            .iter()
            .filter(|grantee| !matches!(grantee, Grantee::Sid(sid) if trusted(sid)))
            .collect()
    }
}

fn is_the_machines(sid: &Sid) -> bool {
    *sid == Sid::system() || *sid == Sid::administrators()
}

/// Those that a DACL lets in.
fn grantees(acl: &[u8]) -> Option<Vec<Grantee>> {
    let acl = acl.get(..usize::from(u16_at(acl, 2)?))?;
    let count = u16_at(acl, 4)?;
    let mut rest = acl.get(ACL_HEADER_BYTES..)?;
    let mut granted = Vec::new();
    for _ in 0..count {
        let size = usize::from(u16_at(rest, 2)?);
        if size < ACE_HEADER_BYTES {
            return None;
        }
        let (ace, next) = rest.split_at_checked(size)?;
        rest = next;
        let (kind, flags, mask) = (ace[0], ace[1], u32_at(ace, 4)?);
        if flags & INHERIT_ONLY != 0 || mask == 0 {
            continue;
        }
        let grantee = match kind {
            // ACCESS_ALLOWED and ACCESS_ALLOWED_CALLBACK: what follows the SID is a condition.
            0 | 9 => Grantee::Sid(Sid::read(&ace[ACE_HEADER_BYTES..])?),
            // The kinds that deny, audit or alarm.
            1..=3 | 6..=8 | 10 | 12..=16 => continue,
            _ => Grantee::Unknown,
        };
        if !granted.contains(&grantee) {
            granted.push(grantee);
        }
    }
    Some(granted)
}

/// A descriptor that lets in those in `grants` with the rights beside them, and nobody else, and inherits nothing.
pub(crate) fn descriptor(owner: Option<&Sid>, grants: &[(&Sid, u32)], reach: Reach) -> Vec<u8> {
    let flags = match reach {
        Reach::ItAlone => 0,
        Reach::WhatIsMadeInItToo => INHERITED_BY_ALL,
    };
    let owner = owner.map_or(&[][..], Sid::bytes);
    let owner_at = if owner.is_empty() { 0 } else { HEADER_BYTES };
    let acl_at = HEADER_BYTES + owner.len();
    let acl_bytes = ACL_HEADER_BYTES
        + grants
            .iter()
            .map(|(sid, _)| ACE_HEADER_BYTES + sid.bytes().len())
            .sum::<usize>();

    let mut bytes = vec![1, 0];
    bytes.extend(CONTROL.to_le_bytes());
    // Owner, group, SACL, DACL.
    for at in [owner_at, 0, 0, acl_at] {
        bytes.extend(small(at).to_le_bytes());
    }
    bytes.extend(owner);
    bytes.extend([ACL_REVISION, 0]);
    bytes.extend(short(acl_bytes).to_le_bytes());
    bytes.extend(short(grants.len()).to_le_bytes());
    bytes.extend([0, 0]);
    for (sid, mask) in grants {
        bytes.extend([0, flags]);
        bytes.extend(short(ACE_HEADER_BYTES + sid.bytes().len()).to_le_bytes());
        bytes.extend(mask.to_le_bytes());
        bytes.extend(sid.bytes());
    }
    bytes
}

/// What the entries of a list are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    ItAlone,
    WhatIsMadeInItToo,
}

/// The descriptor of what is `us`'s alone: the analogue of 0600 and 0700. The system and the administrators are let in as root
/// is on a Unix, where no mode keeps it out.
pub(crate) fn private(us: &Sid, reach: Reach) -> Vec<u8> {
    let (system, administrators) = (Sid::system(), Sid::administrators());
    let all = FILE_ALL_ACCESS;
    descriptor(
        Some(us),
        &[(us, all), (&system, all), (&administrators, all)],
        reach,
    )
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

/// A handful of SIDs of 68 bytes each stays far below what fits.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn small(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYONE: (u8, [u32; 1]) = (1, [0]);
    const USERS: (u8, [u32; 2]) = (5, [32, 545]);
    const READ: u32 = 0x0012_0089;

    fn ann() -> Sid {
        Sid::of(5, &[21, 1, 2, 3, 1001])
    }

    fn everyone() -> Sid {
        Sid::of(EVERYONE.0, &EVERYONE.1)
    }

    fn users() -> Sid {
        Sid::of(USERS.0, &USERS.1)
    }

    fn others(security: &Security) -> Vec<String> {
        let text = |grantee: &&Grantee| match grantee {
            Grantee::Sid(sid) => sid.to_string(),
            other => format!("{other:?}"),
        };
        security.others(&ann()).iter().map(text).collect()
    }

    /// A descriptor with these entries, each a kind, flags, a mask and a SID.
    fn with_entries(entries: &[(u8, u8, u32, Sid)]) -> Vec<u8> {
        let grants: Vec<(&Sid, u32)> = entries.iter().map(|(_, _, mask, sid)| (sid, *mask)).collect();
        let mut bytes = descriptor(Some(&ann()), &grants, Reach::ItAlone);
        let mut at = HEADER_BYTES + ann().bytes().len() + ACL_HEADER_BYTES;
        for (kind, flags, _, sid) in entries {
            bytes[at..at + 2].copy_from_slice(&[*kind, *flags]);
            at += ACE_HEADER_BYTES + sid.bytes().len();
        }
        bytes
    }

    /// Byte by byte from MS-DTYP: owner `S-1-5-18`, one entry that lets Everyone read.
    #[test]
    fn a_name_is_read_by_its_revision_and_printed_with_all_of_its_authority() {
        let bytes = [1, 1, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0];
        let sid = Sid::read(&bytes).unwrap();
        assert_eq!(sid.to_string(), "S-1-258-3");
        assert_eq!(format!("{sid:?}"), "S-1-258-3");
        assert!(
            Sid::read(&[2, 1, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0]).is_none(),
            "another revision"
        );
        assert!(
            Sid::read(&[1, 16, 0, 0, 0, 0, 0, 1]).is_none(),
            "more parts than there may be"
        );
    }

    #[test]
    fn a_descriptor_has_the_documented_form() {
        let known = [
            &[1, 0, 0x04, 0x90, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0][..],
            &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0],
            &[2, 0, 28, 0, 1, 0, 0, 0],
            &[0, 0, 20, 0, 0x89, 0, 0x12, 0],
            &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(
            descriptor(Some(&Sid::system()), &[(&everyone(), READ)], Reach::ItAlone),
            known
        );
        let read = Security::read(&known).unwrap();
        assert_eq!(read.owner, Some(Sid::system()));
        assert_eq!(read.granted, [Grantee::Sid(everyone())]);
    }

    #[test]
    fn what_is_made_private_reads_as_private() {
        for reach in [Reach::ItAlone, Reach::WhatIsMadeInItToo] {
            let security = Security::read(&private(&ann(), reach)).unwrap();
            assert!(security.is_owned_by(&ann()));
            assert_eq!(others(&security), [""; 0]);
            assert_eq!(security.granted.len(), 3);
            let bob = Sid::of(5, &[21, 1, 2, 3, 1002]);
            assert!(!security.is_owned_by(&bob));
            assert_eq!(security.others(&bob), [&Grantee::Sid(ann())]);
        }
    }

    #[test]
    fn each_that_is_let_in_is_told_once() {
        for (entries, told) in [
            (vec![(0, 0, READ, everyone())], &["S-1-1-0"][..]),
            (
                vec![(0, 0, READ, users()), (0, 0, 1, everyone()), (0, 0, 2, users())],
                &["S-1-5-32-545", "S-1-1-0"],
            ),
            // An inherited entry, and one with a condition, let in as any other.
            (vec![(0, 0x10, READ, users())], &["S-1-5-32-545"]),
            (vec![(9, 0, READ, users())], &["S-1-5-32-545"]),
            // What denies, audits, is for new files alone, or gives nothing, lets nobody in.
            (vec![(1, 0, READ, everyone())], &[]),
            (vec![(2, 0, READ, everyone())], &[]),
            (vec![(0, INHERIT_ONLY | INHERITED_BY_ALL, READ, everyone())], &[]),
            (vec![(0, 0, 0, everyone())], &[]),
            // An entry that denies does not outweigh one that lets in.
            (
                vec![(1, 0, READ, everyone()), (0, 0, READ, everyone())],
                &["S-1-1-0"],
            ),
            (vec![(0, 0, READ, Sid::owner_rights()), (0, 0, READ, ann())], &[]),
            // An object entry, and a kind of the future.
            (vec![(5, 0, READ, everyone())], &["Unknown"]),
            (vec![(200, 0, READ, ann())], &["Unknown"]),
            (vec![], &[]),
        ] {
            let security = Security::read(&with_entries(&entries)).unwrap();
            assert_eq!(others(&security), told, "{entries:?}");
        }
    }

    #[test]
    fn no_list_lets_everybody_in_and_no_owner_is_nobodys_file() {
        let mut bytes = private(&ann(), Reach::ItAlone);
        bytes[16..20].fill(0);
        assert_eq!(
            others(&Security::read(&bytes).unwrap()),
            ["EverybodyForWantOfAList"]
        );
        let mut bytes = private(&ann(), Reach::ItAlone);
        bytes[2] &= !4;
        assert_eq!(
            others(&Security::read(&bytes).unwrap()),
            ["EverybodyForWantOfAList"]
        );
        let bytes = descriptor(None, &[(&ann(), READ)], Reach::ItAlone);
        assert!(!Security::read(&bytes).unwrap().is_owned_by(&ann()));
    }

    #[test]
    fn the_system_and_the_administrators_own_in_this_users_name() {
        for owner in [Sid::system(), Sid::administrators()] {
            let bytes = descriptor(Some(&owner), &[(&ann(), READ)], Reach::ItAlone);
            assert!(Security::read(&bytes).unwrap().is_owned_by(&ann()), "{owner}");
        }
    }

    /// Cut off or changed at any byte: an answer or none, and never a panic.
    #[test]
    fn no_bytes_are_too_strange_to_be_read() {
        let whole = with_entries(&[(0, 0, READ, users()), (9, 0, READ, everyone())]);
        for len in 0..whole.len() {
            assert_eq!(Security::read(&whole[..len]), None, "{len} bytes");
        }
        for at in 0..whole.len() {
            for to in [0, 1, 0x7F, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = to;
                let _ = Security::read(&bytes);
            }
        }
    }
}
