//! When it pays to know the rate better first.
//!
//! In the end a kernel without the bug has to survive for so long that this is no luck, and how long that is
//! hangs on how many lockups the rate is known from: t (alpha^(-1/n) - 1) minutes after n of them in t. With
//! few, a further lockup of a kernel that is known to have the bug saves more minutes than it takes.

use super::observation::Tally;
use super::posterior::Sums;
use super::range::{Direction, Range};
use super::search::Policy;
use crate::statistics;

/// Whether a further lockup saves more minutes than it takes, when kernels with the bug have shown that.
pub(super) fn is_worth_knowing_better(shown: Sums, policy: &Policy) -> bool {
    let Some(to_survive) =
        statistics::minutes_to_survive(shown.lockups, shown.minutes, policy.alpha)
    else {
        return false;
    };
    let wait = shown.minutes / f64::from(shown.lockups);
    let after =
        statistics::minutes_to_survive(shown.lockups + 1, shown.minutes + wait, policy.alpha);
    let with_boots = 1.0 + policy.boot_minutes / policy.trial_minutes;
    let takes = wait * with_boots + policy.boot_minutes;
    after.is_some_and(|after| (to_survive - after) * with_boots > takes)
}

/// The kernel that locked up and is nearest to the change, which `suspect` would have made.
pub(super) fn kernel(range: &Range, tallies: &[Tally], suspect: usize) -> Option<usize> {
    let mut known = (0..tallies.len()).filter(|&one| {
        let tally = &tallies[one];
        tally.lockups > 0 && tally.skipped().is_none() && range.has_bug(suspect, one)
    });
    match range.direction() {
        Direction::Broke => known.next(),
        Direction::Fixed => known.next_back(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::tallies;
    use super::super::observation::tests::{trial, untestable};
    use super::super::range::tests::list;
    use super::*;

    /// Minutes for so many lockups and for the survival after them, n + n (alpha^(-1/n) - 1) waits, are
    /// fewest at n = ln(1 / alpha): 4.6 for one in a hundred.
    #[test]
    fn five_lockups_are_enough_for_an_error_of_one_in_a_hundred() {
        for wait in [0.2, 1.0, 10.0] {
            let worth: Vec<u32> = (0..30)
                .filter(|&lockups| {
                    let minutes = f64::from(lockups) * wait;
                    let policy = Policy {
                        boot_minutes: 0.0,
                        ..Policy::default()
                    };
                    is_worth_knowing_better(Sums { lockups, minutes }, &policy)
                })
                .collect();
            assert_eq!(worth, [1, 2, 3, 4], "{wait}");
        }
    }

    #[test]
    fn it_is_learnt_next_to_the_change_from_what_locked_up() {
        let seen = [trial(9, 1, 0.2), trial(6, 1, 0.4), trial(7, 0, 1.0)];
        let range = list(Direction::Broke, 9);
        assert_eq!(kernel(&range, &tallies(&range, &seen), 4), Some(6));
        let broken = [seen.as_slice(), &[untestable(6)]].concat();
        assert_eq!(kernel(&range, &tallies(&range, &broken), 4), Some(9));
        assert_eq!(
            kernel(&range, &tallies(&range, &seen), 8),
            Some(9),
            "6 has no bug then"
        );
        let range = list(Direction::Fixed, 12);
        assert_eq!(kernel(&range, &tallies(&range, &seen), 11), Some(9));
        assert_eq!(kernel(&range, &tallies(&range, &[]), 11), None);
    }
}
