//! Whom an address stands for.

use std::net::{IpAddr, Ipv6Addr};

/// What one guesser has: an IPv4 address, in whichever words, or a /64 of IPv6, of which a subscriber has all addresses
/// (RFC 6177).
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}
