//! What is left to chance: a generator with a seed, or somebody's bytes.

use std::time::Duration;

use askalf_agent_core::machine::Jitter;

/// Decides. A fuzzer's bytes run out; from then on everything is as dull as can be.
#[derive(Debug, Clone)]
pub(crate) enum Dice {
    /// splitmix64 (Steele, Lea and Flood, 2014).
    Seed(u64),
    /// Bytes, and how many of them are used.
    Bytes(std::sync::Arc<[u8]>, usize),
}

impl Dice {
    /// Whether there is more to decide.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Self::Bytes(bytes, used) if used >= &bytes.len())
    }

    /// A generator of its own, for another part of the world.
    pub(crate) fn split(&mut self) -> Self {
        Self::Seed(self.below(u64::MAX))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = *state;
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (word ^ (word >> 31)) % bound
            }
            Self::Bytes(bytes, used) => {
                let wanted = if bound <= 256 { 1 } else { 2 };
                let mut word = 0;
                for byte in bytes.iter().skip(*used).take(wanted) {
                    word = word << 8 | u64::from(*byte);
                }
                *used += wanted;
                // Two bytes reach over the whole of a larger bound, in steps.
                if bound <= 256 {
                    word % bound
                } else {
                    u64::try_from((u128::from(word) * u128::from(bound)) >> 16).unwrap_or(0)
                }
            }
        }
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap();
        of[index].clone()
    }
}

impl Jitter for Dice {
    fn below(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap();
        Duration::from_nanos(if nanos == 0 { 0 } else { Dice::below(self, nanos) })
    }
}
