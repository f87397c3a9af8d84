//! How many wrong pairing codes are looked up: bounds what guessing costs the bridge, and what it can reach.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use askalf_bridge_auth::UnixMillis;

use crate::network::network_of;

/// Wrong codes of one address: 10 at once, then one in 6 s. A person mistypes a few; the checksum keeps most of those from
/// getting here at all.
const PER_ADDRESS: Rate = Rate {
    burst: 10,
    each_ms: 6_000,
};

/// Wrong codes of all addresses: 1,000 at once, then 100 a second. In the ten minutes of a code 61,000 are tried: one chance
/// in 1.8 * 10^10 for it. Reaching the bound takes a hundred addresses that guess without pause.
const GLOBAL: Rate = Rate {
    burst: 1_000,
    each_ms: 10,
};

/// Addresses per generation, of which two are kept: some megabytes at most. An address that is forgotten starts afresh, which
/// the global bound makes up for.
const MAX_ADDRESSES: usize = 32_768;

#[derive(Debug, Default)]
pub(crate) struct PairBudget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    global: Bucket,
    current: HashMap<IpAddr, Bucket>,
    previous: HashMap<IpAddr, Bucket>,
}

/// A try that counts as a wrong code unless it is given back.
#[derive(Debug)]
pub(crate) struct Try {
    address: Option<IpAddr>,
}

/// There is no room for another wrong code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The address that has used its own up; `None` where all together have.
    pub(crate) address: Option<IpAddr>,
    /// When there is room again.
    pub(crate) retry_after: Duration,
}

impl PairBudget {
    /// Counts a try. Requests without an address, of this machine's own socket, share the global budget alone.
    pub(crate) fn spend(&self, address: Option<IpAddr>, now: UnixMillis) -> Result<Try, Spent> {
        let address = address.map(network_of);
        let mut state = self.state();
        if let Some(address) = address {
            state
                .of(address)
                .take(&PER_ADDRESS, now)
                .map_err(|retry_after| Spent {
                    address: Some(address),
                    retry_after,
                })?;
        }
        if let Err(retry_after) = state.global.take(&GLOBAL, now) {
            if let Some(address) = address {
                state.of(address).give_back(&PER_ADDRESS);
            }
            return Err(Spent {
                address: None,
                retry_after,
            });
        }
        Ok(Try { address })
    }

    /// Takes a try back that was no wrong code.
    pub(crate) fn give_back(&self, spent: Try) {
        let mut state = self.state();
        state.global.give_back(&GLOBAL);
        if let Some(address) = spent.address {
            state.of(address).give_back(&PER_ADDRESS);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, address: IpAddr) -> &mut Bucket {
        if !self.current.contains_key(&address) {
            if self.current.len() >= MAX_ADDRESSES {
                self.previous = std::mem::take(&mut self.current);
            }
            let known = self.previous.remove(&address).unwrap_or_default();
            self.current.insert(address, known);
        }
        self.current.entry(address).or_default()
    }
}

#[derive(Debug)]
struct Rate {
    burst: i64,
    each_ms: i64,
}

/// The time at which everything that was taken is made up for: a bucket as one number.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    full_at: i64,
}

impl Bucket {
    fn take(&mut self, rate: &Rate, now: UnixMillis) -> Result<(), Duration> {
        let latest = now.0.saturating_add(rate.burst * rate.each_ms);
        // Nothing but a clock that was set back puts it further ahead: nobody waits until that clock is where it was.
        let from = if self.full_at > latest {
            now.0
        } else {
            self.full_at.max(now.0)
        };
        let full_at = from.saturating_add(rate.each_ms);
        let over = full_at.saturating_sub(latest);
        if over > 0 {
            return Err(Duration::from_millis(u64::try_from(over).unwrap_or(0)));
        }
        self.full_at = full_at;
        Ok(())
    }

    fn give_back(&mut self, rate: &Rate) {
        self.full_at = self.full_at.saturating_sub(rate.each_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_505_580_000);

    fn later(millis: i64) -> UnixMillis {
        UnixMillis(NOW.0 + millis)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_ten_wrong_codes_then_one_in_six_seconds() {
        let budget = PairBudget::default();
        let from = address("192.0.2.7");
        for _ in 0..10 {
            budget.spend(from, NOW).unwrap();
        }
        let spent = budget.spend(from, NOW).unwrap_err();
        assert_eq!(spent.address, from);
        assert_eq!(spent.retry_after, Duration::from_secs(6));
        // Being refused costs nothing more.
        assert_eq!(
            budget.spend(from, later(5_999)).unwrap_err().retry_after,
            Duration::from_millis(1)
        );
        budget.spend(from, later(6_000)).unwrap();
        budget.spend(from, later(6_000)).unwrap_err();
        budget.spend(address("192.0.2.8"), NOW).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        const HOUR: i64 = 3_600_000;
        let budget = PairBudget::default();
        let one = budget.spend(address("192.0.2.7"), later(8 * HOUR)).unwrap();
        budget.give_back(one);
        for _ in 0..10 {
            budget.spend(address("192.0.2.8"), later(8 * HOUR)).unwrap();
        }
        for from in ["192.0.2.7", "192.0.2.8"] {
            for _ in 0..10 {
                budget.spend(address(from), NOW).unwrap();
            }
            let spent = budget.spend(address(from), NOW).unwrap_err();
            assert_eq!(spent.retry_after, Duration::from_secs(6));
        }
    }

    #[test]
    fn what_was_no_wrong_code_is_given_back() {
        let budget = PairBudget::default();
        for _ in 0..10_000 {
            let one = budget.spend(address("192.0.2.7"), NOW).unwrap();
            budget.give_back(one);
        }
    }

    #[test]
    fn all_of_a_network_of_version_6_count_as_one_and_mapped_addresses_as_what_they_are() {
        let budget = PairBudget::default();
        for last in 0..10 {
            budget.spend(address(&format!("2001:db8::{last}")), NOW).unwrap();
        }
        budget.spend(address("2001:db8::ffff:1"), NOW).unwrap_err();
        budget.spend(address("2001:db8:0:1::1"), NOW).unwrap();
        for _ in 0..10 {
            budget.spend(address("::ffff:192.0.2.7"), NOW).unwrap();
        }
        budget.spend(address("192.0.2.7"), NOW).unwrap_err();
    }

    #[test]
    fn all_addresses_together_are_bounded_in_number_and_in_memory() {
        let budget = PairBudget::default();
        let from = |n: u32| Some(IpAddr::V4(n.into()));
        for n in 0..1_000 {
            budget.spend(from(n), NOW).unwrap();
        }
        let spent = budget.spend(from(1_000), NOW).unwrap_err();
        assert_eq!(
            (spent.address, spent.retry_after),
            (None, Duration::from_millis(10))
        );
        for n in 0..100_000 {
            let _ = budget.spend(from(n), NOW);
        }
        let state = budget.state();
        assert!(state.current.len() + state.previous.len() <= 2 * MAX_ADDRESSES);
    }

    #[test]
    fn the_arithmetic_of_the_global_bound_is_that_of_its_comment() {
        let tries = GLOBAL.burst + 600_000 / GLOBAL.each_ms;
        assert_eq!(tries, 61_000);
        let chance = 2_f64.powi(50) / tries as f64;
        assert!((1.8e10..1.9e10).contains(&chance), "{chance}");
    }
}
