//! What counts of lockups and minutes of exposure are worth.
//!
//! Lockups of one arm are taken as a Poisson process in exposed time: a trial ends at its first
//! lockup, the next one starts afresh, and the waiting time has no memory.

mod luck;
#[cfg(test)]
mod near;
mod rate;
pub mod sequential;
pub mod survival;

pub use luck::{luck, minutes_to_survive};
pub use rate::{CONFIDENCE, Rate, dispersed_rate, dispersion, rate};

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

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
