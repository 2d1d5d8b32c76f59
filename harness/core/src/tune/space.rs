//! The campaigns among which a tune searches.

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::field::Field;
use super::spec::{Parameter, TuneSpec};
use crate::campaign::{Campaign, MinExposure, Role};
use crate::yaml::{Problem, Problems};

/// One campaign of a [`Space`]: for each of its axes, which choice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Point(Vec<usize>);

impl Point {
    /// The choice of each axis.
    pub fn choices(&self) -> &[usize] {
        &self.0
    }

    /// The same but for one axis.
    pub fn with(&self, axis: usize, choice: usize) -> Self {
        let mut point = self.clone();
        point.0[axis] = choice;
        point
    }
}

/// A field that is varied.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The field.
    pub field: Field,
    /// The campaign's own value (absent: it does not have the field), then the others of the spec.
    pub choices: Vec<Option<Value>>,
}

/// All campaigns that a spec allows.
#[derive(Debug, Clone)]
pub struct Space {
    /// Name of the arm that runs.
    pub arm: String,
    /// What that arm is there for in the campaign.
    pub role: Role,
    /// What is varied, in the spec's order.
    pub axes: Vec<Axis>,
    document: Value,
    load_seconds: u32,
}

impl Space {
    /// The space around `campaign`.
    ///
    /// # Errors
    /// Every value of the spec that cannot be in its field, whatever the other fields are, by its place
    /// in `file`.
    pub fn new(file: &str, spec: &TuneSpec, campaign: &Campaign) -> Result<Self, Problems> {
        let fail = |problems| Problems {
            file: file.to_owned(),
            problems,
        };
        let document = serde_yaml::to_value(campaign)
            .map_err(|error| fail(vec![Problem::new("campaign", error.to_string())]))?;
        let subject = campaign.arm_with(Role::Subject);
        let name = spec.arm.as_deref().unwrap_or(subject);
        let Some(arm) = campaign.arms.get(name) else {
            let known: Vec<&str> = campaign.arms.keys().map(String::as_str).collect();
            let text = format!("no arm of the campaign; there are: {}", known.join(", "));
            return Err(fail(vec![Problem::new("arm", text)]));
        };
        let space = Self {
            arm: name.to_owned(),
            role: arm.role,
            axes: spec
                .parameters
                .iter()
                .map(|parameter| axis(parameter, &document))
                .collect(),
            document,
            load_seconds: spec.load_seconds,
        };
        let problems = space.problems();
        if problems.is_empty() {
            Ok(space)
        } else {
            Err(fail(problems))
        }
    }

    /// The campaign's own point.
    pub fn start(&self) -> Point {
        Point(vec![0; self.axes.len()])
    }

    /// All points that differ from the campaign's own in one axis.
    pub fn beside(&self) -> Vec<Point> {
        let axes = 0..self.axes.len();
        axes.flat_map(|axis| self.line(&self.start(), axis).split_off(1))
            .collect()
    }

    /// All points that differ from `point` in nothing but `axis`, with itself first.
    pub fn line(&self, point: &Point, axis: usize) -> Vec<Point> {
        let choices = (0..self.axes[axis].choices.len()).filter(|&choice| choice != point.0[axis]);
        let others = choices.map(|choice| point.with(axis, choice));
        std::iter::once(point.clone()).chain(others).collect()
    }

    /// Value of each axis at a point; absent: the campaign does not have the field.
    pub fn values(&self, point: &Point) -> Vec<Option<&Value>> {
        let axes = self.axes.iter().zip(&point.0);
        axes.map(|(axis, &choice)| axis.choices.get(choice).and_then(Option::as_ref))
            .collect()
    }

    /// The campaign at a point. That each value may be in its field has been seen to before.
    ///
    /// # Errors
    /// What contradicts itself in it.
    pub fn campaign(&self, point: &Point) -> Result<Campaign, Problems> {
        let document = self
            .document(point)
            .map_err(|text| fail(vec![Problem::new("", text)]))?;
        let campaign: Campaign = serde_yaml::from_value(document)
            .map_err(|error| fail(vec![Problem::new("", error.to_string())]))?;
        let problems = campaign.problems();
        if problems.is_empty() {
            Ok(campaign)
        } else {
            Err(fail(problems))
        }
    }

    fn document(&self, point: &Point) -> Result<Value, String> {
        let mut document = self.document.clone();
        for (axis, value) in self.axes.iter().zip(self.values(point)) {
            if let Some(value) = value {
                axis.field.set(&mut document, value.clone())?;
            }
        }
        Ok(document)
    }

    /// The campaign at a point with the length of the tune's trials, and without a least exposure: little
    /// of it is what a trial may find.
    ///
    /// # Errors
    /// As [`Space::campaign`].
    pub fn trial(&self, point: &Point) -> Result<Campaign, Problems> {
        let mut campaign = self.campaign(point)?;
        campaign.policy.load_seconds = self.load_seconds;
        campaign.policy.min_exposure = MinExposure::default();
        Ok(campaign)
    }

    /// The guest's settings that a point has and the campaign has not, as `name=value`.
    pub fn own_settings(&self, point: &Point) -> Vec<String> {
        let settings = |point: &Point| {
            let campaign = self.campaign(point);
            campaign.map_or(Vec::new(), |campaign| settings(&campaign))
        };
        let common = settings(&self.start());
        let mut own = settings(point);
        own.retain(|setting| !common.contains(setting));
        own
    }

    /// What is wrong with single values, the other fields being as the campaign has them.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            for point in self.line(&self.start(), index).iter().skip(1) {
                for found in self.problems_with(&axis.field, point) {
                    let place = format!("parameters.{index} ({})", axis.field);
                    let problem = Problem::new(place, found);
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        problems
    }

    /// What is wrong with a field of a point. What contradicts another field is no mistake: that may be
    /// varied too.
    fn problems_with(&self, field: &Field, point: &Point) -> Vec<String> {
        let text = self.document(point).and_then(|document| {
            serde_yaml::to_string(&document).map_err(|error| error.to_string())
        });
        let found = match text {
            Err(problem) => return vec![problem],
            Ok(text) => Campaign::parse(WHAT, &text).err(),
        };
        let found = found.into_iter().flat_map(|found| found.problems);
        found
            .filter(|problem| problem.field.is_empty() || field.holds(&problem.field))
            .map(|problem| problem.to_string())
            .collect()
    }
}

/// What problems are problems of.
const WHAT: &str = "the campaign with these values";

fn fail(problems: Vec<Problem>) -> Problems {
    Problems {
        file: WHAT.to_owned(),
        problems,
    }
}

fn axis(parameter: &Parameter, document: &Value) -> Axis {
    let own = parameter.at.get(document).cloned();
    let mut choices = vec![own];
    for value in parameter.choices() {
        if !choices.contains(&Some(value.clone())) {
            choices.push(Some(value));
        }
    }
    Axis {
        field: parameter.at.clone(),
        choices,
    }
}

/// All that the agent sets, as it names what is refused.
fn settings(campaign: &Campaign) -> Vec<String> {
    let tuning = &campaign.tuning;
    let features = tuning.sched_features.iter();
    let features = features.map(|word| format!("sched_features={word}"));
    let spare_cpus = tuning.spare_cpus.iter();
    let spare_cpus = spare_cpus.map(|how| format!("spare_cpus={how:?}").to_lowercase());
    [&tuning.sysctls, &tuning.files, &tuning.hold]
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"))
        .chain(features)
        .chain(spare_cpus)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMPAIGN: &str = include_str!("../../../../configs/migrate-swap.yaml");

    fn space(parameters: &str) -> Result<Space, Problems> {
        let text = format!(
            "{{schema: 1, name: t, campaign: c, load_seconds: 7, max_trials: 9, parameters: [{parameters}]}}"
        );
        let spec = TuneSpec::parse("t.yaml", &text)?;
        let campaign = Campaign::parse("c.yaml", CAMPAIGN)?;
        Space::new("t.yaml", &spec, &campaign)
    }

    fn problems(parameters: &str) -> Vec<String> {
        let problems = space(parameters).unwrap_err().problems;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_point_is_the_campaign_with_its_values_and_nothing_else_changed() {
        let space = space(
            "{at: [tuning, sysctls, kernel.numa_balancing_scan_size_mb], values: [64, 256]},
             {at: [tuning, sysctls, kernel.sched_new], values: [1]},
             {at: [tuning, files, /sys/module/fair/parameters/kv_b_wait_us], values: [7]},
             {at: [guest, nodes, 1, cpus], values: [2]},
             {at: [load, shuffler], values: [null]},
             {at: [tuning, spare_cpus], values: [apart]}",
        )
        .unwrap();
        let campaign = Campaign::parse("c.yaml", CAMPAIGN).unwrap();
        assert_eq!(space.campaign(&space.start()).unwrap(), campaign);
        let trial = space.trial(&space.start()).unwrap();
        assert_eq!(trial.policy.load_seconds, 7);
        let other = space.campaign(&Point(vec![1; 6])).unwrap();
        let sysctls = &other.tuning.sysctls;
        assert_eq!(
            sysctls["kernel.numa_balancing_scan_size_mb"].to_string(),
            "64"
        );
        assert_eq!(other.guest.nodes[1].cpus, 2);
        assert_eq!(other.load.shuffler, None);
        // The order in which settings are made may matter.
        let names = |campaign: &Campaign| -> Vec<String> {
            campaign.tuning.sysctls.keys().cloned().collect()
        };
        assert_eq!(names(&other)[..names(&campaign).len()], names(&campaign));
        assert_eq!(
            space.own_settings(&Point(vec![1; 6])),
            [
                "kernel.numa_balancing_scan_size_mb=64",
                "kernel.sched_new=1",
                "/sys/module/fair/parameters/kv_b_wait_us=7",
                "spare_cpus=apart",
            ]
        );
        assert!(space.own_settings(&space.start()).is_empty());
    }

    #[test]
    fn the_campaigns_own_value_is_the_first_choice_and_not_tried_twice() {
        let space = space(
            "{at: [load, roamers, count], range: {from: 3, to: 7, steps: 3}},
             {at: [tuning, sysctls, kernel.sched_new], values: [1]}",
        )
        .unwrap();
        let numbers = |axis: &Axis| -> Vec<Option<i64>> {
            let choices = axis.choices.iter();
            choices
                .map(|one| one.as_ref().and_then(Value::as_i64))
                .collect()
        };
        assert_eq!(numbers(&space.axes[0]), [Some(5), Some(3), Some(7)]);
        assert_eq!(numbers(&space.axes[1]), [None, Some(1)]);
        let line = space.line(&Point(vec![1, 1]), 0);
        assert_eq!(line, [vec![1, 1], vec![0, 1], vec![2, 1]].map(Point));
    }

    #[test]
    fn values_that_no_campaign_may_have_are_named_with_their_parameter() {
        let found = problems(
            "{at: [load, pollers, count], values: [3, 1000]},
             {at: [load, pollers, cuont], values: [1, 2]},
             {at: [load, swappers, hop_us], values: [500]},
             {at: [tuning, sched_features], values: [NO_TTWU_QUEUE]}",
        );
        let starts = [
            "parameters.0 (load.pollers.count): load.pollers.count: 1000 is out of range",
            "parameters.1 (load.pollers.cuont): load.pollers.cuont: unknown key",
            "parameters.2 (load.swappers.hop_us): the campaign has no `load.swappers`",
            "parameters.3 (tuning.sched_features): tuning.sched_features: \"NO_TTWU_QUEUE\" is not a list",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (problem, start) in found.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn values_that_contradict_another_field_are_left_to_the_search() {
        let space = space(
            "{at: [load, roamers, count], values: [0]}, {at: [load, shuffler], values: [null]}",
        )
        .unwrap();
        let error = space.campaign(&Point(vec![1, 0])).unwrap_err();
        assert!(
            error.to_string().contains("no roamers to shuffle"),
            "{error}"
        );
        space.campaign(&Point(vec![1, 1])).unwrap();
    }

    #[test]
    fn what_a_tune_must_not_vary_and_how_values_are_given_wrongly_is_named() {
        let found = problems(
            "{at: [arms, fixed, kernel], values: [k]},
             {at: [policy, load_seconds], values: [9]},
             {at: [guest, accelerator], values: [kvm]},
             {at: [holder], values: [null]},
             {at: [load, node], values: [0], range: {from: 0, to: 1, steps: 2}},
             {at: [load, pollers]},
             {at: [load, pollers, count], range: {from: 4, to: 2, steps: 2}},
             {at: [load, roamers, count], range: {from: 0, to: 2, steps: 2, scale: log}}",
        );
        let starts = [
            "parameters.0.at: `arms.fixed.kernel`: all trials",
            "parameters.1.at: `policy.load_seconds`",
            "parameters.2.at: `guest.accelerator`",
            "parameters.3.at: `holder`",
            "parameters.4: has `values` and a `range`",
            "parameters.5: has neither",
            "parameters.6.range: from 4 to 2",
            "parameters.6.at: `load.pollers.count` overlaps `load.pollers`",
            "parameters.7.range: a logarithmic scale",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (problem, start) in found.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn the_arm_is_the_subject_unless_it_is_named() {
        let campaign = Campaign::parse("c.yaml", CAMPAIGN).unwrap();
        let mut spec = TuneSpec::parse(
            "t.yaml",
            "{schema: 1, name: t, campaign: c, load_seconds: 7, max_trials: 9, parameters: [{at: [load, node], values: [0]}]}",
        )
        .unwrap();
        let arm = |spec: &TuneSpec| Space::new("t.yaml", spec, &campaign).map(|space| space.arm);
        assert_eq!(arm(&spec).unwrap(), "fixed");
        spec.arm = Some("unfixed".to_owned());
        assert_eq!(arm(&spec).unwrap(), "unfixed");
        spec.arm = Some("mended".to_owned());
        let error = arm(&spec).unwrap_err().to_string();
        assert!(
            error.contains("arm: no arm") && error.contains("fixed, unfixed"),
            "{error}"
        );
    }
}
