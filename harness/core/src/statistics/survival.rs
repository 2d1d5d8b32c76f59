//! How long trials stay alive, with those that ended before anything happened to them.

/// How long one trial was watched, and how that ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watched {
    /// Exposed minutes.
    pub minutes: f64,
    /// Whether it failed then; otherwise it was watched no longer (censored).
    pub failed: bool,
}

/// A point of a survival curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Exposed minutes.
    pub minutes: f64,
    /// Part of the trials that is still alive from then on, 0 to 1.
    pub alive: f64,
}

/// Part of the trials that is alive after so many minutes: a staircase that begins at 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Where it steps down, in order.
    pub steps: Vec<Point>,
    /// Where trials left it alive, in order.
    pub censored: Vec<Point>,
    /// Longest time that any trial was watched, in minutes.
    pub minutes: f64,
}

impl Curve {
    /// Minutes after which half of the trials have failed; absent: more than half outlive the curve.
    pub fn median(&self) -> Option<f64> {
        let half = |step: &&Point| step.alive <= 0.5;
        self.steps.iter().find(half).map(|step| step.minutes)
    }
}

/// The product-limit estimate of Kaplan and Meier (1958), "Nonparametric estimation from incomplete
/// observations". Failures come before trials that leave at the same minute.
pub fn survival(watched: &[Watched]) -> Curve {
    let mut ordered = watched.to_vec();
    ordered.sort_by(|one, other| {
        let by_time = one.minutes.total_cmp(&other.minutes);
        by_time.then(other.failed.cmp(&one.failed))
    });
    let mut curve = Curve::default();
    let mut alive = 1.0;
    for (index, one) in ordered.iter().enumerate() {
        let at_risk = (ordered.len() - index) as f64;
        curve.minutes = one.minutes;
        if one.failed {
            alive *= (at_risk - 1.0) / at_risk;
        }
        let point = Point {
            minutes: one.minutes,
            alive,
        };
        match (one.failed, curve.steps.last_mut()) {
            (true, Some(last)) if last.minutes == one.minutes => last.alive = alive,
            (true, _) => curve.steps.push(point),
            (false, _) => curve.censored.push(point),
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(all: &[(f64, bool)]) -> Vec<Watched> {
        let one = |&(minutes, failed): &(f64, bool)| Watched { minutes, failed };
        all.iter().map(one).collect()
    }

    #[test]
    fn agrees_with_a_published_example() {
        // Remission of the 21 treated patients of Freireich et al. (1963), as every textbook has them.
        let failed = [6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0];
        let left = [
            6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0,
        ];
        let mut all: Vec<(f64, bool)> = failed.iter().map(|weeks| (*weeks, true)).collect();
        all.extend(left.iter().map(|weeks| (*weeks, false)));
        let curve = survival(&watched(&all));
        let expected = [
            (6.0, 0.8571),
            (7.0, 0.8067),
            (10.0, 0.7529),
            (13.0, 0.6902),
            (16.0, 0.6275),
            (22.0, 0.5378),
            (23.0, 0.4482),
        ];
        assert_eq!(curve.steps.len(), expected.len());
        for (step, (weeks, alive)) in curve.steps.iter().zip(expected) {
            assert_eq!(step.minutes, weeks);
            assert!((step.alive - alive).abs() < 5e-5, "{step:?}");
        }
        assert_eq!(curve.median(), Some(23.0));
        assert_eq!(curve.minutes, 35.0);
        assert_eq!(curve.censored.len(), left.len());
    }

    #[test]
    fn who_never_fails_stays_at_the_top() {
        let curve = survival(&watched(&[(1.0, false), (2.0, false)]));
        assert_eq!((curve.steps.len(), curve.median()), (0, None));
        assert!(curve.censored.iter().all(|point| point.alive == 1.0));
        assert_eq!(survival(&[]), Curve::default());
    }
}
