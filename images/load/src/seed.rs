//! Pseudo-random numbers that are the same in every trial.

use crate::assignment::Role;

/// An xorshift64* generator.
pub struct Random(u64);

impl Random {
    /// The generator of a process: equal for equal roles.
    pub fn of(role: Role) -> Self {
        let (kind, index) = match role {
            Role::Pollers => (1, 0),
            Role::Roamer { index } => (2, index),
            Role::Shuffler { index } => (3, index),
            Role::Returner { index } => (4, index),
            Role::Hopper { index } => (5, index),
        };
        // Neighbouring indices have to give unrelated sequences, and the state must not be 0.
        let mixed = (kind << 32 | u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random(mixed | 1)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        // The high half: the low bits of xorshift64* are the weaker ones.
        ((self.next() >> 32) as usize) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_repeats_its_numbers_and_no_other_roles() {
        let draw = |role| {
            let mut random = Random::of(role);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        let first = draw(Role::Roamer { index: 0 });
        assert_eq!(first, draw(Role::Roamer { index: 0 }));
        assert_ne!(first, draw(Role::Roamer { index: 1 }));
        assert_ne!(first, draw(Role::Shuffler { index: 0 }));
    }

    #[test]
    fn numbers_stay_below_the_limit_and_reach_all_of_it() {
        let mut random = Random::of(Role::Pollers);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[random.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
