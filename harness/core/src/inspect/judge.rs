//! What the ways through a kernel's code say about a fix.

use std::collections::BTreeMap;

use super::finding::{Evidence, Finding, FollowUpFound, FormFound, Presence, State};
use super::fix::{Fix, FollowUp, Function, Span};
use super::flow::Flow;
use super::walk::{Wake, Walk, walk};

/// A kernel that can be looked into, be it source or code.
pub trait Kernel {
    /// Whether it has a function that the bug needs.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn has(&self, function: &Function) -> Result<bool, String>;

    /// All ways through an entry of a fix; `None`: the kernel has no such function.
    ///
    /// # Errors
    /// Why the function was not understood.
    fn flow(&self, entry: &str, fix: &Fix) -> Result<Option<Flow>, String>;

    /// Why nothing can be said of preemption; `None`: it can.
    fn hides_preemption(&self) -> Option<String>;
}

/// An entry that was followed.
struct Entry<'a> {
    name: &'a str,
    flow: Flow,
    walk: Walk,
}

/// Says whether a kernel has a fix.
pub fn judge(fix: &Fix, kernel: &dyn Kernel) -> Finding {
    let (entries, mut trouble) = entries(fix, kernel);
    for need in &fix.needs {
        match kernel.has(&need.what) {
            Ok(true) => {}
            // Where nothing at all is found, it was not looked into right.
            Ok(false) if entries.is_empty() => {
                let why = trouble.first().cloned().unwrap_or_default();
                return finding(fix, State::Unknown, why);
            }
            Ok(false) => {
                let why = format!("it has no {}(): {}", need.what.function, need.without);
                return finding(fix, State::CannotHaveIt, why);
            }
            Err(why) => return finding(fix, State::Unknown, why),
        }
    }
    let early = evidence(&entries, |wake| wake.under_lock, |_| "with the lock held");
    // Where locks do not add up, one that seems held may have been dropped unseen.
    let (held, free): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(|entry| !entry.walk.unbalanced)
        .partition(|entry| entry.walk.wakes.iter().any(|wake| wake.under_lock));
    if !held.is_empty() {
        return Finding {
            evidence: early,
            missing: fix.series(),
            ..finding(fix, State::Affected, half_or_whole(&held, &free))
        };
    }
    trouble.extend(entries.iter().filter_map(not_understood));
    if let Some(why) = trouble.into_iter().next() {
        return Finding {
            evidence: early,
            ..finding(fix, State::Unknown, why)
        };
    }
    Finding {
        related: related(fix, &entries, kernel),
        ..late(fix, &entries, kernel.hides_preemption())
    }
}

/// Why a kernel is affected. The fix may be there for some of the entries.
fn half_or_whole(held: &[&Entry<'_>], free: &[&Entry<'_>]) -> String {
    let names = |entries: &[&Entry<'_>]| {
        let names: Vec<String> = entries
            .iter()
            .map(|one| format!("{}()", one.name))
            .collect();
        names.join(", ")
    };
    let why = "a thread is woken while the lock of its queue is held";
    match free.is_empty() {
        true => why.to_owned(),
        false => format!(
            "{why}: in {}, though no longer in {}",
            names(held),
            names(free)
        ),
    }
}

fn finding(fix: &Fix, state: State, why: String) -> Finding {
    Finding {
        fix: fix.name.clone(),
        commit: fix.commit.clone(),
        state,
        why,
        forms: Vec::new(),
        evidence: Vec::new(),
        follow_ups: Vec::new(),
        missing: Vec::new(),
        related: Vec::new(),
    }
}

fn entries<'a>(fix: &'a Fix, kernel: &dyn Kernel) -> (Vec<Entry<'a>>, Vec<String>) {
    let mut entries = Vec::new();
    let mut trouble = Vec::new();
    for name in &fix.entries {
        match kernel.flow(name, fix) {
            Ok(Some(flow)) => {
                let walk = walk(&flow);
                entries.push(Entry { name, flow, walk });
            }
            Ok(None) => trouble.push(format!("{name}() is not where it has always been")),
            Err(why) => trouble.push(format!("{name}(): {why}")),
        }
    }
    (entries, trouble)
}

/// Why an entry says nothing.
fn not_understood(entry: &Entry<'_>) -> Option<String> {
    let name = entry.name;
    if !entry.walk.locks {
        Some(format!("{name}() takes no lock that is known here"))
    } else if entry.walk.unbalanced {
        Some(format!(
            "{name}() takes and drops its lock in a way that is not known here"
        ))
    } else if entry.walk.wakes.is_empty() {
        Some(format!("{name}() wakes nobody in a way that is known here"))
    } else {
        None
    }
}

/// All wake-ups come after the lock was dropped: the fix is there, and its follow-ups are what is left.
fn late(fix: &Fix, entries: &[Entry<'_>], hidden: Option<String>) -> Finding {
    let follow_ups: Vec<FollowUpFound> = fix
        .follow_ups
        .iter()
        .map(|follow_up| FollowUpFound {
            commit: follow_up.commit.clone(),
            state: match &hidden {
                Some(_) => Presence::CannotTell,
                None => presence(follow_up, entries),
            },
        })
        .collect();
    let missing: Vec<_> = follow_ups
        .iter()
        .filter(|found| found.state == Presence::Missing)
        .map(|found| found.commit.clone())
        .collect();
    let (state, why) = match (&hidden, missing.is_empty()) {
        (Some(why), _) => (
            State::Fixed,
            format!("threads are woken once the locks are dropped; of the follow-ups nothing can be told: {why}"),
        ),
        (None, true) => (
            State::Fixed,
            "threads are woken once the locks are dropped, and nothing can preempt in between".to_owned(),
        ),
        (None, false) => (
            State::Partial,
            "threads are woken once the locks are dropped, but between queueing and waking the CPU may be preempted"
                .to_owned(),
        ),
    };
    let about = |wake: &Wake| match (&hidden, wake.preemption_off, wake.off_since_unlock) {
        (Some(_), _, _) => "once the lock is dropped",
        (None, _, true) => "once the lock is dropped, preemption off all the time",
        (None, true, false) => "once the lock is dropped, preemption off again",
        (None, false, false) => "once the lock is dropped, preemption on",
    };
    let tidies = fix.tidies.iter().map(|commit| FollowUpFound {
        commit: commit.clone(),
        state: Presence::NoEffect,
    });
    Finding {
        forms: forms(fix, entries),
        evidence: evidence(entries, |_| true, about),
        follow_ups: follow_ups.into_iter().chain(tidies).collect(),
        missing,
        ..finding(fix, state, why)
    }
}

fn presence(follow_up: &FollowUp, entries: &[Entry<'_>]) -> Presence {
    let holds = |wake: &Wake| match follow_up.preemption_off {
        Span::AtWakeUp => wake.preemption_off,
        Span::SinceUnlock => wake.off_since_unlock,
    };
    let mut concerned = entries
        .iter()
        .filter(|entry| follow_up.entries.iter().any(|name| name == entry.name))
        .flat_map(|entry| &entry.walk.wakes);
    match concerned.all(holds) {
        true => Presence::Present,
        false => Presence::Missing,
    }
}

fn forms(fix: &Fix, entries: &[Entry<'_>]) -> Vec<FormFound> {
    let wakes = || entries.iter().flat_map(|entry| &entry.walk.wakes);
    let seen = fix
        .forms
        .iter()
        .filter(|form| wakes().any(|wake| form.wakes.contains(&wake.call)));
    seen.map(|form| FormFound {
        about: form.about.clone(),
        commit: form.commit.clone(),
    })
    .collect()
}

/// Other bugs that the form found leaves open.
fn related(fix: &Fix, entries: &[Entry<'_>], kernel: &dyn Kernel) -> Vec<FormFound> {
    let wakes = || entries.iter().flat_map(|entry| &entry.walk.wakes);
    let open = fix.related.iter().filter(|related| {
        wakes().any(|wake| related.wakes.contains(&wake.call))
            && kernel.has(&related.with) == Ok(true)
    });
    open.map(|related| FormFound {
        about: related.about.clone(),
        commit: related.commit.clone(),
    })
    .collect()
}

/// The wake-ups that `wanted` picks, each place once: entries share helpers.
fn evidence(
    entries: &[Entry<'_>],
    wanted: impl Fn(&Wake) -> bool,
    about: impl Fn(&Wake) -> &'static str,
) -> Vec<Evidence> {
    let mut places: BTreeMap<(&str, &str), &Wake> = BTreeMap::new();
    for entry in entries {
        for wake in entry.walk.wakes.iter().filter(|wake| wanted(wake)) {
            let step = &entry.flow.steps[wake.step];
            let worst = places.entry((&step.place, &step.code)).or_insert(wake);
            if worst.off_since_unlock && !wake.off_since_unlock {
                *worst = wake;
            }
        }
    }
    let mut evidence: Vec<Evidence> = places
        .into_iter()
        .map(|((place, code), wake)| Evidence {
            place: place.to_owned(),
            code: code.to_owned(),
            about: about(wake).to_owned(),
        })
        .collect();
    evidence.sort_by_cached_key(|one| order(&one.place));
    evidence
}

/// Places of a file by their lines, and those of a function by their offsets.
fn order(place: &str) -> (String, u64) {
    let (what, number) = place.rsplit_once([':', '+']).unwrap_or((place, ""));
    let digits = number.strip_prefix("0x");
    let number = match digits {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => number.parse(),
    };
    (what.to_owned(), number.unwrap_or_default())
}
