//! What agents 2.0 to 3.2 sealed under facts of the machine. Each generation has a frozen module; here is which machine ids are
//! worth trying. Every one costs a derivation, so their number is bounded.

use zeroize::Zeroizing;

use crate::machine::{Interface, MachineFacts};

mod machine_key_2_0;
mod machine_key_3_0;

/// How many machine ids are tried at most. At 50 ms each, a start that finds nothing takes some 0.6 s longer.
pub const MAX_MACHINE_IDS: usize = 12;

const NO_MAC: &str = "00:00:00:00:00:00";

/// What a machine key unsealed, or how many ids were tried for nothing.
pub(crate) fn unseal(machine: &MachineFacts, api_key: &str) -> Result<Zeroizing<Vec<u8>>, usize> {
    let ids = likely_ids(machine);
    ids.iter()
        .find_map(|id| match id {
            MachineId::V2(id) => machine_key_2_0::unseal(id, api_key),
            MachineId::V3(id) => machine_key_3_0::unseal(id, api_key),
        })
        .ok_or(ids.len())
}

enum MachineId {
    V2(Zeroizing<String>),
    V3(Zeroizing<String>),
}

impl MachineId {
    fn text(&self) -> &str {
        match self {
            Self::V2(text) | Self::V3(text) => text,
        }
    }
}

/// Today's id first, then what it was if the usual things have changed since.
fn likely_ids(machine: &MachineFacts) -> Vec<MachineId> {
    let list = |wanted: fn(&Interface) -> bool, times: fn(&Interface) -> usize| -> Vec<String> {
        let count = |card: &Interface| vec![spelled(&card.mac); times(card)];
        machine
            .interfaces
            .iter()
            .filter(|card| !card.loopback && wanted(card))
            .flat_map(count)
            .collect()
    };
    let v3 = |hostname: &str, macs: Vec<String>| {
        MachineId::V3(
            machine_key_3_0::Machine {
                hostname,
                username: &machine.username,
                arch: &machine.arch,
                platform: &machine.platform,
                macs,
            }
            .id(),
        )
    };
    let here = |macs| v3(&machine.hostname, macs);

    let up = |card: &Interface| card.up;
    let real = |card: &Interface| card.up && !card.is_virtual;
    let with_mac = |card: &Interface| card.up && spelled(&card.mac) != NO_MAC;
    let any = |_: &Interface| true;
    let per_address = |card: &Interface| card.addresses.len();
    let per_ipv4 = |card: &Interface| card.addresses.iter().filter(|address| address.is_ipv4()).count();
    let once = |_: &Interface| 1;
    let twice = |_: &Interface| 2;

    let mut ids = vec![
        here(list(up, per_address)),
        MachineId::V2(
            machine_key_2_0::Machine {
                hostname: &machine.hostname,
                username: &machine.username,
                arch: &machine.arch,
                platform: &machine.platform,
            }
            .id(),
        ),
        // Containers came or went.
        here(list(real, per_address)),
        // IPv6 came or went: a card with both kinds stands twice, one with IPv4 alone once.
        here(list(up, once)),
        here(list(up, twice)),
        here(list(real, once)),
        here(list(real, twice)),
        here(list(up, per_ipv4)),
        here(list(with_mac, per_address)),
        // A card that is down now was up.
        here(list(any, per_address)),
    ];
    // The host was renamed from its short name to its full one, or back.
    if let Some((short, _)) = machine.hostname.split_once('.') {
        ids.push(v3(short, list(up, per_address)));
    }
    // No network was up at all.
    ids.push(here(Vec::new()));

    let mut distinct: Vec<MachineId> = Vec::new();
    for id in ids {
        if distinct.len() < MAX_MACHINE_IDS && !distinct.iter().any(|known| known.text() == id.text()) {
            distinct.push(id);
        }
    }
    distinct
}

/// As Node spells a hardware address.
fn spelled(mac: &str) -> String {
    mac.to_ascii_lowercase().replace('-', ":")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn card(mac: &str, addresses: &[IpAddr]) -> Interface {
        Interface {
            mac: mac.to_owned(),
            addresses: addresses.to_vec(),
            up: true,
            ..Interface::default()
        }
    }

    /// The machine of the vector `machine-key-3.1`.
    fn machine() -> MachineFacts {
        MachineFacts {
            hostname: "cx33".into(),
            username: "askalf-agent".into(),
            arch: "x64".into(),
            platform: "linux".into(),
            interfaces: vec![
                Interface {
                    loopback: true,
                    ..card(NO_MAC, &[V4, V6])
                },
                card("96:00:03:aa:bb:01", &[V4, V6]),
                Interface {
                    is_virtual: true,
                    ..card("02:42:ac:11:00:02", &[V4])
                },
            ],
        }
    }

    fn network_parts(machine: &MachineFacts) -> Vec<String> {
        let part = |id: &MachineId| id.text().splitn(5, ':').nth(4).unwrap().to_owned();
        likely_ids(machine).iter().map(part).collect()
    }

    #[test]
    fn todays_id_comes_first_and_each_id_once() {
        assert_eq!(
            network_parts(&machine()),
            [
                "02:42:ac:11:00:02,96:00:03:aa:bb:01,96:00:03:aa:bb:01",
                "no-network",
                "96:00:03:aa:bb:01,96:00:03:aa:bb:01",
                "02:42:ac:11:00:02,96:00:03:aa:bb:01",
                "02:42:ac:11:00:02,02:42:ac:11:00:02,96:00:03:aa:bb:01,96:00:03:aa:bb:01",
                "96:00:03:aa:bb:01",
                "",
            ]
        );
    }

    #[test]
    fn however_odd_the_machine_the_number_of_ids_is_bounded() {
        let mut odd = machine();
        odd.hostname = "cx33.example.org".into();
        odd.interfaces.push(card(NO_MAC, &[V4]));
        odd.interfaces.push(Interface {
            up: false,
            ..card("aa:bb:cc:dd:ee:ff", &[V4])
        });
        odd.interfaces.push(card("11:22:33:44:55:66", &[V4, V6, V6]));
        let ids = likely_ids(&odd);
        assert!((9..=MAX_MACHINE_IDS).contains(&ids.len()), "{}", ids.len());
        assert!(
            ids.iter().any(|id| id.text().starts_with("cx33:")),
            "the short name"
        );
        assert!(
            ids.iter().any(|id| id.text().contains("aa:bb:cc:dd:ee:ff")),
            "the card that is down"
        );
    }

    #[test]
    fn cards_without_an_address_of_their_own_are_left_out_of_one_id() {
        let mut tunnel = machine();
        tunnel.interfaces.push(card(NO_MAC, &[V4]));
        let down = Interface {
            up: false,
            ..card("aa:bb:cc:dd:ee:ff", &[V4])
        };
        tunnel.interfaces.push(down);
        let parts = network_parts(&tunnel);
        let [todays, ..] = parts.as_slice() else {
            panic!("no id")
        };
        assert!(todays.contains(NO_MAC), "{todays}");
        let without = "02:42:ac:11:00:02,96:00:03:aa:bb:01,96:00:03:aa:bb:01";
        assert!(parts.iter().any(|part| part == without), "{parts:?}");
    }

    #[test]
    fn a_hardware_address_is_spelled_as_node_does() {
        let mut windows = machine();
        windows.interfaces = vec![card("02-42-AC-11-00-02", &[V4])];
        assert_eq!(network_parts(&windows)[0], "02:42:ac:11:00:02");
    }

    #[test]
    fn a_changed_network_is_bridged_where_it_can_be() {
        const SEALED: &str =
            "0kTGROemO5anaYLdCVbUKdliu8CwHDzjyQAIyKoApRUwEdMoh9ck1idT/ytbiGz1PReK2PriSdtSff30ct6TkOnm0I0=";
        const TOKEN: &[u8] = b"sk_live_T4j9rAOSCQoSiuZJCeoBEki7odn0UXZs";
        let read = |machine: &MachineFacts| unseal(machine, SEALED).ok();
        assert_eq!(read(&machine()).unwrap().as_slice(), TOKEN);

        // The container that was up is down.
        let mut down = machine();
        down.interfaces[2].up = false;
        assert_eq!(read(&down).unwrap().as_slice(), TOKEN);

        // Another container is up instead: its address is gone for good.
        let mut other = machine();
        other.interfaces[2].mac = "02:42:ac:11:00:07".into();
        let tried = unseal(&other, SEALED).unwrap_err();
        assert_eq!(tried, likely_ids(&other).len());

        // The user was renamed.
        let mut renamed = machine();
        renamed.username = "root".into();
        assert!(read(&renamed).is_none());
    }
}
