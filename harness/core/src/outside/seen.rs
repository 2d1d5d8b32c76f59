//! Whether what is seen from outside is one bug's signature.

use serde::{Deserialize, Serialize};

use super::waits::{Cpu, Doing, Graph, How, Scene, Wait};
use crate::console::signature::{Match, Signature};

/// What is seen of one signature from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The signature's name.
    pub name: String,
    /// How much of it was seen.
    pub matched: Match,
    /// The CPUs that show it, one for each side that was seen.
    pub sides: Vec<SeenSide>,
    /// Whether it is also known, from stacks or memory, that each side waits for the next one.
    pub proven: bool,
}

/// One side, seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSide {
    /// The side's name.
    pub side: String,
    /// The CPU that is it.
    pub cpu: u32,
}

/// Holds a scene against a signature.
///
/// Stacks make it possible; it is the target when each side's CPU really waits for something, and
/// nothing that is known of these waits says that it is another CPU's than the next side's.
pub fn seen(scene: &Scene<'_>, graph: &Graph, signature: &Signature) -> Seen {
    let candidates: Vec<Vec<u32>> = signature
        .sides
        .iter()
        .map(|side| {
            let stuck = scene.cpus.iter().filter(|cpu| is_stuck(cpu));
            let like_it = stuck.filter(|cpu| {
                let contexts = cpu.stack.contexts();
                contexts.iter().any(|frames| side.matches(frames))
            });
            like_it.map(Cpu::name).collect()
        })
        .collect();
    let mut best: Option<(Fit, Vec<u32>)> = None;
    each_choice(&candidates, &mut Vec::new(), &mut |cpus| {
        let fit = fit(graph, cpus);
        if best.as_ref().is_none_or(|(other, _)| fit > *other) {
            best = Some((fit, cpus.to_vec()));
        }
    });
    let some: Vec<Option<u32>> = match &best {
        Some((_, cpus)) => cpus.iter().copied().map(Some).collect(),
        None => candidates.iter().map(|all| all.first().copied()).collect(),
    };
    let sides: Vec<SeenSide> = std::iter::zip(signature.sides, some)
        .filter_map(|(side, cpu)| {
            let side = side.name.to_owned();
            Some(SeenSide { side, cpu: cpu? })
        })
        .collect();
    let fit = best.map_or(Fit::Contradicted, |(fit, _)| fit);
    Seen {
        name: signature.name.to_owned(),
        matched: match fit {
            Fit::Proven | Fit::Consistent => Match::Target,
            Fit::Contradicted if sides.is_empty() => Match::Other,
            Fit::Contradicted => Match::Possible,
        },
        sides,
        proven: fit == Fit::Proven,
    }
}

/// How well CPUs, one for each side, fit what is known of who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// One of them waits for nothing, or for another one.
    Contradicted,
    /// Each waits, but for whom is not known of all.
    Consistent,
    /// Each waits for the next one.
    Proven,
}

fn fit(graph: &Graph, cpus: &[u32]) -> Fit {
    let next = cpus.iter().cycle().skip(1);
    let fits = cpus.iter().zip(next).map(|(cpu, next)| {
        let waits = graph.waits.iter().filter(|wait| wait.cpu == *cpu);
        waits.map(|wait| fit_of(wait, *next)).max()
    });
    fits.map(|fit| fit.unwrap_or(Fit::Contradicted))
        .min()
        .unwrap_or(Fit::Contradicted)
}

fn fit_of(wait: &Wait, next: u32) -> Fit {
    match (wait.holder, wait.how) {
        (Some(holder), _) if holder != next => Fit::Contradicted,
        (Some(_), How::Stack | How::Memory) => Fit::Proven,
        (Some(_), How::Unknown | How::Exclusion) => Fit::Consistent,
        (None, How::Memory) => Fit::Contradicted,
        (None, How::Unknown | How::Exclusion | How::Stack) => Fit::Consistent,
    }
}

fn is_stuck(cpu: &Cpu) -> bool {
    match cpu.doing {
        Doing::Stuck => true,
        Doing::Idle | Doing::UserSpace | Doing::Moving => false,
    }
}

/// Calls `visit` with one CPU for each side, all different, in every possible way.
fn each_choice(candidates: &[Vec<u32>], chosen: &mut Vec<u32>, visit: &mut dyn FnMut(&[u32])) {
    let Some(side) = candidates.get(chosen.len()) else {
        visit(chosen);
        return;
    };
    for cpu in side {
        if !chosen.contains(cpu) {
            chosen.push(*cpu);
            each_choice(candidates, chosen, visit);
            chosen.pop();
        }
    }
}
