//! Rates of events in exposed time, with their intervals.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::near::near;

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
}
