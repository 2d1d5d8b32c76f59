//! What counts of lockups and minutes of exposure are worth.
//!
//! Lockups of one arm are taken as a Poisson process in exposed time: a trial ends at its first
//! lockup, the next one starts afresh, and the waiting time has no memory.

use statrs::distribution::{ContinuousCDF, Gamma};

/// A rate per minute with an interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rate {
    /// Events per minute.
    pub per_minute: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Confidence of every interval that is printed.
pub const CONFIDENCE: f64 = 0.95;

/// Rate of `events` in `minutes` with the exact Poisson interval of Garwood (1936), "Fiducial
/// limits for the Poisson distribution", at [`CONFIDENCE`]; `None` without any exposure.
pub fn rate(events: u32, minutes: f64) -> Option<Rate> {
    dispersed_rate(u64::from(events), minutes, 1.0)
}

/// The same for counts with `dispersion` times the variance of a Poisson process, as [`dispersion`] finds
/// it: the interval is that of so many times fewer events.
pub fn dispersed_rate(events: u64, minutes: f64, dispersion: f64) -> Option<Rate> {
    if minutes <= 0.0 {
        return None;
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let count = events as f64 / dispersion;
    let minutes = minutes / dispersion;
    let low = if events == 0 {
        0.0
    } else {
        gamma_quantile(count, tail)
    };
    let high = gamma_quantile(count + 1.0, 1.0 - tail);
    Some(Rate {
        per_minute: count / minutes,
        low: low / minutes,
        high: high / minutes,
    })
}

/// What [`dispersion`] is taken for before anything was repeated. Boots of the same guest differ by
/// more than chance: near misses of a campaign's trials had 1 to 3 times the variance of a Poisson process.
const USUAL_DISPERSION: f64 = 2.0;
/// So many repeats count as much as [`USUAL_DISPERSION`] does.
const USUAL_DISPERSION_WEIGHT: f64 = 3.0;

/// How many times the variance of a Poisson process counts have, at least 1. Each group holds events and
/// minutes of trials under the same conditions.
///
/// This is Pearson's statistic over its degrees of freedom, as in McCullagh and Nelder, "Generalized
/// Linear Models" (1989), section 6.2.3, drawn towards what is usual while there are few repeats.
pub fn dispersion(groups: &[Vec<(u64, f64)>]) -> f64 {
    let (mut statistic, mut freedom) = (0.0, 0.0);
    for group in groups {
        let events: u64 = group.iter().map(|(events, _)| events).sum();
        let minutes: f64 = group.iter().map(|(_, minutes)| minutes).sum();
        if events == 0 {
            continue;
        }
        for (found, share) in group {
            let expected = events as f64 * share / minutes;
            statistic += (*found as f64 - expected).powi(2) / expected;
        }
        freedom += group.len() as f64 - 1.0;
    }
    let usual = USUAL_DISPERSION * USUAL_DISPERSION_WEIGHT;
    ((statistic + usual) / (freedom + USUAL_DISPERSION_WEIGHT)).max(1.0)
}

/// `shape` is above 0, so the distribution exists.
fn gamma_quantile(shape: f64, probability: f64) -> f64 {
    Gamma::new(shape, 1.0).map_or(f64::NAN, |gamma| gamma.inverse_cdf(probability))
}

/// Probability that the subject survives `subject_minutes` by luck, had it the control's rate,
/// when the control showed `lockups` in `control_minutes`.
///
/// The control's rate is itself only known from a few lockups. So this is not
/// `exp(-rate × minutes)`, which takes the estimate for the truth and is too small, but the exact
/// conditional test of two Poisson rates (Przyborowski and Wilenski, 1940): given the number of
/// lockups, under equal rates each falls into the control's time with probability
/// `control / (control + subject)`, and all of them did.
///
/// 1 (no evidence at all) without lockups or without exposure of either side.
pub fn luck(lockups: u32, control_minutes: f64, subject_minutes: f64) -> f64 {
    if lockups == 0 || control_minutes <= 0.0 || subject_minutes <= 0.0 {
        return 1.0;
    }
    (control_minutes / (control_minutes + subject_minutes)).powf(f64::from(lockups))
}

/// Minutes that the subject has to survive for [`luck`] to fall below `alpha`; `None` as long as
/// the control has not locked up.
pub fn minutes_to_survive(lockups: u32, control_minutes: f64, alpha: f64) -> Option<f64> {
    (lockups > 0).then(|| control_minutes * (alpha.powf(-1.0 / f64::from(lockups)) - 1.0))
}

/// The middle of the values, or the mean of the two in the middle; `None` without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= expected.abs() * 1e-3 + 1e-9,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn intervals_agree_with_published_tables() {
        // Exact limits for 0, 3 and 10 events, as in Pearson and Hartley's Biometrika tables.
        for (events, low, high) in [(0, 0.0, 3.689), (3, 0.6187, 8.767), (10, 4.795, 18.39)] {
            let rate = rate(events, 1.0).unwrap();
            near(rate.low, low);
            near(rate.high, high);
        }
        assert_eq!(rate(3, 0.0), None);
    }

    #[test]
    fn an_interval_is_as_wide_as_the_counts_are_dispersed() {
        let plain = rate(20, 2.0).unwrap();
        assert_eq!(dispersed_rate(20, 2.0, 1.0), Some(plain));
        // Twenty events of twice the variance tell as much as ten.
        let wide = dispersed_rate(20, 2.0, 2.0).unwrap();
        near(wide.per_minute, 10.0);
        near(wide.low, 4.795);
        near(wide.high, 18.39);
        let few = dispersed_rate(1, 2.0, 3.0).unwrap();
        assert!(few.low > 0.0 && few.low < 0.01 && few.high > 2.0, "{few:?}");
        assert_eq!(dispersed_rate(0, 0.0, 2.0), None);
    }

    #[test]
    fn dispersion_is_found_in_repeats_and_assumed_without() {
        near(dispersion(&[]), USUAL_DISPERSION);
        near(
            dispersion(&[vec![(30, 1.0)], vec![(3, 1.0)]]),
            USUAL_DISPERSION,
        );
        let even: Vec<(u64, f64)> = (0..200).map(|one| (20 + one % 2, 1.0)).collect();
        assert_eq!(
            dispersion(&[even]),
            1.0,
            "less than chance is taken for chance"
        );
        // 10 and 30 instead of twice 20: each trial adds 100 / 20.
        let uneven: Vec<(u64, f64)> = (0..200).map(|one| (10 + one % 2 * 20, 1.0)).collect();
        assert!((dispersion(&[uneven]) - 5.0).abs() < 0.1);
        // A trial of half the length has half the events, which is no difference.
        assert_eq!(dispersion(&vec![vec![(40, 1.0), (20, 0.5)]; 50]), 1.0);
    }

    #[test]
    fn luck_is_what_the_binomial_says() {
        near(luck(3, 1.0, 1.0), 0.125);
        near(luck(1, 1.0, 99.0), 0.01);
        assert_eq!(luck(0, 1.0, 100.0), 1.0);
        assert_eq!(luck(3, 1.0, 0.0), 1.0);
    }

    #[test]
    fn the_minutes_asked_for_are_just_enough() {
        for lockups in 1..20 {
            let minutes = minutes_to_survive(lockups, 2.5, 0.01).unwrap();
            near(luck(lockups, 2.5, minutes), 0.01);
        }
        assert_eq!(minutes_to_survive(0, 2.5, 0.01), None);
    }

    /// Two arms of the same rate must be told apart at most as often as alpha says.
    #[test]
    fn equal_arms_are_rarely_called_different() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut wait = || -uniform().max(1e-300).ln();
        let alpha = 0.05;
        let runs = 20_000;
        let mut wrong = 0;
        for _ in 0..runs {
            let control: f64 = (0..3).map(|_| wait()).sum();
            let needed = minutes_to_survive(3, control, alpha).unwrap();
            if wait() > needed {
                wrong += 1;
            }
        }
        let share = f64::from(wrong) / f64::from(runs);
        assert!(share < alpha * 1.1, "{share}");
        assert!(
            share > alpha * 0.8,
            "the test is needlessly strict: {share}"
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
