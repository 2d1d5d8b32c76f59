//! Comparing two lockup rates while looking after every trial.
//!
//! [`super::luck`] is exact for one look. A comparison that stops as soon as something shows looks many
//! times, and each look is another chance to be fooled. Here evidence is an e-process: wealth of a bettor
//! who cannot win in the long run against equal rates, so that it ever reaches 1/alpha with probability
//! at most alpha (Ville, "Étude critique de la notion de collectif", 1939). Whoever stops when it does,
//! whenever that is, is wrong at most alpha often.
//!
//! *The bet.* Each arm has a clock of its own, its exposed minutes. Run both clocks side by side: of two
//! Poisson processes with rates in the ratio r = second / first, the next event is the first arm's with
//! probability 1 / (1 + r), whatever the rates are. So evidence against a ratio is the likelihood of the
//! order of events under a mixture of probabilities, over that under the ratio's own (Robbins, "Statistical
//! methods related to the law of the iterated logarithm", 1970; for Poisson processes Lindon and Malek,
//! "Anytime-valid inference for multinomial count data", NeurIPS 2022). It knows no rate and needs no
//! supremum over rates, which universal inference (Wasserman, Ramdas and Balakrishnan, PNAS 2020) pays for
//! with a third of the evidence or more.
//!
//! *Why it holds for trials one after the other.* Think of each arm's process as drawn beforehand, on its
//! own clock; what is run next only decides how far it is uncovered. Evidence counts as far as both clocks
//! have come, its largest value over both whole processes reaches 1/alpha at most alpha often, and what
//! was uncovered cannot have more. So the choice of the next arm may depend on anything, and trials may
//! be cut at any length: a cut process starts afresh.
//!
//! *What it rests on.* That waiting has no memory. Lockups that are noticed late come more evenly than that,
//! which is the safe side; boots of one kernel that differ in their rate come less evenly, which is not.
//! `tests/promises.rs` has both.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

/// One arm's events on its own clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    events: Vec<f64>,
    exposed: f64,
}

impl Path {
    /// A clock that has come to `exposed`, and where it stood at each event, in order.
    pub fn new(events: Vec<f64>, exposed: f64) -> Self {
        Self { events, exposed }
    }

    /// Lets the clock run for `time`, in minutes or whatever it counts, at the end of which an event may be.
    pub fn extend(&mut self, time: f64, event: bool) {
        self.exposed += time;
        if event {
            self.events.push(self.exposed);
        }
    }

    /// How far the clock has come.
    pub fn exposed(&self) -> f64 {
        self.exposed
    }

    /// Where it stood at each event.
    pub fn events(&self) -> &[f64] {
        &self.events
    }

    /// The same on a clock that runs `times` slower, on which the rate is `times` what it was.
    pub fn slowed(&self, times: f64) -> Self {
        Self {
            events: self.events.iter().map(|time| time / times).collect(),
            exposed: self.exposed / times,
        }
    }

    /// Whether the rate is shown to be below `rate` per minute, wrongly at most `error` often over all
    /// looks. `scale` is in minutes, about half a trial; it has to be chosen before the first one.
    ///
    /// Evidence against a rate is the likelihood under a mixture, one of no events at all and a Gamma
    /// distribution of rates with shape 1/2 and rate parameter `scale`, over that under the rate itself.
    pub fn shows_below(&self, rate: f64, scale: f64, error: f64) -> bool {
        let threshold = -error.ln();
        let mut likelihood = RateMixture::new(scale);
        for time in &self.events {
            if likelihood.refutes_from_below(rate, *time, threshold) {
                return true;
            }
            likelihood.add_event();
        }
        likelihood.refutes_from_below(rate, self.exposed, threshold)
    }
}

/// Weight of "no events at all" among the alternatives to a rate: what a fixed kernel does.
const WEIGHT_OF_SILENCE: f64 = 0.9;
/// Shape of the Gamma distribution of rates, and of the Beta distribution of shares: Jeffreys' choice.
const SHAPE: f64 = 0.5;

/// Likelihood of so many events under the mixture of [`Path::shows_below`].
struct RateMixture {
    scale: f64,
    events: f64,
    /// Logarithm of Gamma(SHAPE + events) / Gamma(SHAPE).
    ln_gammas: f64,
}

impl RateMixture {
    fn new(scale: f64) -> Self {
        Self {
            scale,
            events: 0.0,
            ln_gammas: 0.0,
        }
    }

    fn add_event(&mut self) {
        self.ln_gammas += (SHAPE + self.events).ln();
        self.events += 1.0;
    }

    fn refutes_from_below(&self, rate: f64, minutes: f64, threshold: f64) -> bool {
        let (n, b) = (self.events, self.scale);
        let gamma = SHAPE * b.ln() + self.ln_gammas - (SHAPE + n) * (b + minutes).ln();
        let silence = if n == 0.0 { WEIGHT_OF_SILENCE } else { 0.0 };
        let mixture = (silence + (1.0 - WEIGHT_OF_SILENCE) * gamma.exp()).ln();
        let own = n * rate.ln() - rate * minutes;
        n < rate * minutes && mixture - own >= threshold
    }
}

/// Two arms' events in the order in which they come when both clocks run side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Joint {
    /// Whether each event is the first arm's.
    firsts: Vec<bool>,
}

/// A ratio of rates, second / first, with an interval that holds at every look at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Lower end; 0: nothing is known.
    pub low: f64,
    /// Upper end; absent: nothing is known.
    pub high: Option<f64>,
}

impl Joint {
    /// As far as both clocks have come. Events at the very same time, as clocks that count trials have
    /// them, favour neither and are left out.
    pub fn of(first: &Path, second: &Path) -> Self {
        let end = first.exposed.min(second.exposed);
        let until = |path: &Path| path.events.partition_point(|time| *time <= end);
        let mut ours = first.events[..until(first)].iter().peekable();
        let mut theirs = second.events[..until(second)].iter().peekable();
        let mut firsts = Vec::new();
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return Self { firsts },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.total_cmp(other),
            };
            if order.is_le() {
                ours.next();
            }
            if order.is_ge() {
                theirs.next();
            }
            match order {
                Ordering::Less => firsts.push(true),
                Ordering::Greater => firsts.push(false),
                Ordering::Equal => {}
            }
        }
    }

    /// Events of both arms.
    pub fn events(&self) -> usize {
        self.firsts.len()
    }

    /// Largest evidence so far against rates in the ratio `ratio` (second / first): 1 or less is none, and
    /// 1/alpha is reached at most alpha often if that is the ratio.
    pub fn evidence(&self, ratio: f64) -> f64 {
        let mut largest: f64 = 0.0;
        for wealth in self.wealths() {
            largest = largest.max(wealth.ln_evidence(ratio));
        }
        largest.exp()
    }

    /// Where the true ratio is shown to be, seen from `ratio`, wrongly at most `error` often over all
    /// looks; `None`: that is not shown.
    pub fn place(&self, ratio: f64, error: f64) -> Option<Ordering> {
        let threshold = -error.ln();
        let refuting = self
            .wealths()
            .find(|wealth| wealth.ln_evidence(ratio) >= threshold)?;
        Some(refuting.estimate().total_cmp(&ratio))
    }

    /// The confidence sequence: every ratio that was never refuted, which covers the true one at all looks
    /// at once but for `error`.
    pub fn interval(&self, error: f64) -> Ratio {
        let threshold = -error.ln();
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for wealth in self.wealths() {
            let refuted = |ln_ratio: f64| wealth.ln_evidence(ln_ratio.exp()) >= threshold;
            let middle = wealth.estimate().ln().clamp(-WIDEST, WIDEST);
            let (new_low, new_high) = (
                boundary(middle, -WIDEST, &refuted),
                boundary(middle, WIDEST, &refuted),
            );
            let (new_low, new_high) = (
                new_low.map_or(low, |new| low.max(new)),
                new_high.map_or(high, |new| high.min(new)),
            );
            // Has probability `error` at most: later looks contradict earlier ones.
            if new_low > new_high {
                break;
            }
            (low, high) = (new_low, new_high);
        }
        Ratio {
            low: low.exp(),
            high: Some(high.exp()).filter(|high| high.is_finite()),
        }
    }

    fn wealths(&self) -> impl Iterator<Item = Wealth> {
        self.firsts.iter().scan(Wealth::default(), |wealth, first| {
            wealth.bet(*first);
            Some(*wealth)
        })
    }
}

/// Logarithm of the largest ratio that is looked at.
const WIDEST: f64 = 40.0;

/// Where, between `inside` and `outside`, ratios begin to be refuted; `None`: not even there they are.
fn boundary(inside: f64, outside: f64, refuted: &dyn Fn(f64) -> bool) -> Option<f64> {
    if !refuted(outside) {
        return None;
    }
    let (mut inside, mut outside) = (inside, outside);
    for _ in 0..40 {
        let middle = f64::midpoint(inside, outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    Some(outside)
}

/// A bettor after some events, who has a third each on "always the first", "always the second" and a Beta
/// distribution of shares. A fix that works makes one rate zero, which is what the first two are for.
#[derive(Debug, Clone, Copy, Default)]
struct Wealth {
    firsts: f64,
    seconds: f64,
    /// Logarithm of the order's likelihood under the Beta distribution.
    ln_beta: f64,
}

impl Wealth {
    fn bet(&mut self, first: bool) {
        let count = if first {
            &mut self.firsts
        } else {
            &mut self.seconds
        };
        let share = SHAPE + *count;
        *count += 1.0;
        self.ln_beta += share.ln() - (self.firsts + self.seconds).ln();
    }

    fn ln_evidence(&self, ratio: f64) -> f64 {
        ln_mixture(self.firsts, self.seconds, self.ln_beta) - self.ln_likelihood(ratio)
    }

    fn ln_likelihood(&self, ratio: f64) -> f64 {
        self.seconds * ratio.ln() - (self.firsts + self.seconds) * ratio.ln_1p()
    }

    /// Ratio seen so far.
    fn estimate(&self) -> f64 {
        self.seconds / self.firsts
    }
}

fn ln_mixture(firsts: f64, seconds: f64, ln_beta: f64) -> f64 {
    let alone = f64::from(u8::from(firsts == 0.0)) + f64::from(u8::from(seconds == 0.0));
    ((alone + ln_beta.exp()) / 3.0).ln()
}

/// The smallest rate per minute that would have shown itself with probability 1 - `beta` in `minutes`
/// without an event: exp(-rate × minutes) is the probability that it does not. This holds at every look at
/// once, because an arm that is silent now was silent before. Infinite without any exposure.
pub fn visible_rate(minutes: f64, beta: f64) -> f64 {
    if minutes <= 0.0 {
        return f64::INFINITY;
    }
    -beta.ln() / minutes
}

/// Minutes of silence until [`Path::shows_below`] says so of `rate` per minute, at most.
pub fn minutes_until_below(rate: f64, error: f64) -> f64 {
    (-error.ln() - WEIGHT_OF_SILENCE.ln()) / rate
}

/// Exposed minutes of **each** arm until rates like these (per minute) are told apart at `error`; `None` if
/// they never are. This is where the expected numbers of events cross the threshold; simulated campaigns
/// took as long on average, to within a third.
pub fn minutes_until_different(first: f64, second: f64, error: f64) -> Option<f64> {
    let both = first + second;
    if both <= 0.0 || first == second {
        return None;
    }
    let enough = |events: f64| {
        let (firsts, seconds) = (events * first / both, events * second / both);
        let mixture = ln_mixture(
            firsts,
            seconds,
            ln_beta(SHAPE + firsts, SHAPE + seconds) - ln_beta(SHAPE, SHAPE),
        );
        mixture + events * 2_f64.ln() >= -error.ln()
    };
    events_until(&enough).map(|events| events / both)
}

/// Exposed minutes of **each** arm until arms of the same `rate` per minute are shown to differ less than
/// `ratio` times, at `error`, in the same sense.
pub fn minutes_until_alike(rate: f64, ratio: f64, error: f64) -> Option<f64> {
    if rate <= 0.0 || ratio <= 1.0 {
        return None;
    }
    let enough = |events: f64| {
        let half = events / 2.0;
        let beta = ln_beta(SHAPE + half, SHAPE + half) - ln_beta(SHAPE, SHAPE);
        let own = half * ratio.ln() - events * ratio.ln_1p();
        ln_mixture(half, half, beta) - own >= -error.ln()
    };
    events_until(&enough).map(|events| events / (2.0 * rate))
}

/// The smallest whole number that is enough, if a million is.
fn events_until(enough: &dyn Fn(f64) -> bool) -> Option<f64> {
    let (mut few, mut many) = (0_u32, 1_u32);
    while !enough(f64::from(many)) {
        if many > 1_000_000 {
            return None;
        }
        (few, many) = (many, many * 2);
    }
    while many - few > 1 {
        let middle = few.midpoint(many);
        if enough(f64::from(middle)) {
            many = middle;
        } else {
            few = middle;
        }
    }
    Some(f64::from(many))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(events: &[f64], exposed: f64) -> Path {
        Path {
            events: events.to_vec(),
            exposed,
        }
    }

    #[test]
    fn events_are_ordered_as_far_as_both_clocks_have_come() {
        let joint = Joint::of(&path(&[1.0, 4.0, 6.0], 6.0), &path(&[2.0, 9.0], 9.0));
        assert_eq!(joint.firsts, [true, false, true, true]);
        let joint = Joint::of(&path(&[1.0, 4.0, 6.0], 6.0), &path(&[2.0], 3.0));
        assert_eq!(joint.firsts, [true, false]);
        // Both at once says nothing about which is worse.
        let joint = Joint::of(&path(&[1.0, 2.0], 2.0), &path(&[1.0], 2.0));
        assert_eq!(joint.firsts, [true]);
        assert_eq!(Joint::of(&path(&[], 0.0), &path(&[1.0], 1.0)).events(), 0);
    }

    #[test]
    fn evidence_is_what_the_formula_says() {
        let alone = Joint {
            firsts: vec![true; 9],
        };
        // 2^9 × (1 + C(18, 9) / 4^9) / 3
        let expected = 512.0 * (1.0 + 48_620.0 / 262_144.0) / 3.0;
        assert!((alone.evidence(1.0) - expected).abs() < 1e-9);
        assert_eq!(alone.place(1.0, 0.005), Some(Ordering::Less));
        assert_eq!(alone.place(1.0, 0.004), None);
        let mirrored = Joint {
            firsts: vec![false; 9],
        };
        assert!((mirrored.evidence(1.0) - expected).abs() < 1e-9);
        assert_eq!(mirrored.place(1.0, 0.005), Some(Ordering::Greater));
        // The first event says nothing, whoever has it: where signatures are found in the data, their
        // evidence begins at 1.
        let one = Joint { firsts: vec![true] };
        assert!((one.evidence(1.0) - 1.0).abs() < 1e-12);
        assert_eq!(Joint::default().evidence(1.0), 1.0);
    }

    /// The reason for the joint clock: 10 lockups against none, in 2 minutes each.
    #[test]
    fn universal_inference_would_find_less() {
        let ten = Joint {
            firsts: vec![true; 10],
        };
        let marginal = |n: f64, t: f64| {
            use statrs::function::gamma::ln_gamma;
            let (a, b) = (0.5_f64, 0.5_f64);
            a * b.ln() + ln_gamma(a + n) - ln_gamma(a) - (a + n) * (b + t).ln()
        };
        let supremum = 10.0 * (10.0_f64 / 4.0).ln() - 10.0;
        let universal = (marginal(10.0, 2.0) + marginal(0.0, 2.0) - supremum).exp();
        assert!(
            universal * 3.0 < ten.evidence(1.0),
            "{universal} {}",
            ten.evidence(1.0)
        );
    }

    #[test]
    fn the_interval_and_the_test_agree() {
        let joint = Joint {
            firsts: [true, true, false, true, true, true].repeat(8),
        };
        let ratio = joint.interval(0.01);
        let high = ratio.high.unwrap();
        assert!(
            ratio.low > 0.0 && ratio.low < 0.2 && high > 0.2,
            "{ratio:?}"
        );
        assert_eq!(joint.place(high * 1.001, 0.01), Some(Ordering::Less));
        assert_eq!(joint.place(high * 0.999, 0.01), None);
        assert_eq!(
            joint.place(ratio.low * 0.999, 0.01),
            Some(Ordering::Greater)
        );
        assert_eq!(joint.place(ratio.low * 1.001, 0.01), None);
        let nothing = Joint::default().interval(0.01);
        assert_eq!((nothing.low, nothing.high), (0.0, None));
        let alone = Joint {
            firsts: vec![true; 9],
        };
        let ratio = alone.interval(0.01);
        assert!(ratio.low == 0.0 && ratio.high < Some(1.0), "{ratio:?}");
    }

    #[test]
    fn a_silent_arm_shows_a_bound_and_a_loud_one_does_not() {
        let enough = minutes_until_below(1.0, 0.01);
        assert!(path(&[], enough).shows_below(1.0, 0.5, 0.01));
        assert!(!path(&[], enough * 0.9).shows_below(1.0, 0.5, 0.01));
        assert!(!path(&[], 0.0).shows_below(1.0, 0.5, 0.01));
        // One event in twenty minutes: below one per minute all the same.
        assert!(path(&[3.0], 20.0).shows_below(1.0, 0.5, 0.01));
        let often: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!(!path(&often, 20.0).shows_below(1.0, 0.5, 0.01));
        assert!(!path(&often, 20.0).shows_below(0.5, 0.5, 0.01));
    }

    #[test]
    fn what_would_have_been_seen_follows_from_the_time_watched() {
        assert!((visible_rate(4.605_17, 0.01) - 1.0).abs() < 1e-5);
        assert_eq!(visible_rate(0.0, 0.01), f64::INFINITY);
        assert!((-visible_rate(3.0, 0.05) * 3.0).exp() - 0.05 < 1e-12);
    }

    #[test]
    fn the_time_still_needed_follows_from_the_rates() {
        // Nine lockups of the first arm, as above.
        assert_eq!(minutes_until_different(3.0, 0.0, 0.005), Some(3.0));
        assert_eq!(minutes_until_different(0.0, 3.0, 0.005), Some(3.0));
        assert_eq!(minutes_until_different(2.0, 2.0, 0.005), None);
        assert_eq!(minutes_until_different(0.0, 0.0, 0.005), None);
        let far = minutes_until_different(4.0, 1.0, 0.01).unwrap();
        let near = minutes_until_different(2.0, 1.0, 0.01).unwrap();
        assert!(far < near, "{far} {near}");
        let alike = minutes_until_alike(1.0, 4.0, 0.005).unwrap();
        assert!(alike > 10.0 && alike < 40.0, "{alike}");
        assert_eq!(minutes_until_alike(0.0, 4.0, 0.005), None);
        assert_eq!(minutes_until_alike(1.0, 1.0, 0.005), None);
    }
}
