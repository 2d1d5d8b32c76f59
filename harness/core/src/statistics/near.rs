//! Figures that tests know to three digits.

/// `found` is `expected`, to a thousandth.
#[track_caller]
pub fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= expected.abs() * 1e-3 + 1e-9,
        "{found} is not {expected}"
    );
}
