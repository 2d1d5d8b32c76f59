//! What a survival is worth, held against lockups of another arm.
//!
//! This is exact for one look. A schedule may look after each trial all the same as long as the control stops
//! at a number of lockups that was fixed before: its time is then the same whatever the subject does, and the
//! subject has one threshold to pass.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::near::near;

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
}
