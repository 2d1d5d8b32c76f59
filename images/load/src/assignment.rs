//! What one load process is told, and the one line it answers.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use kverdict_core::load::LoadSpec;
use serde::{Deserialize, Serialize};

/// What one load process has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All pollers, as threads of one process, like the lcores of a DPDK application.
    Pollers,
    /// One roaming process.
    Roamer {
        /// Counts from 0 over all roamers.
        index: u32,
    },
    /// One shuffling process.
    Shuffler {
        /// Counts from 0 over all shufflers.
        index: u32,
    },
    /// One process that returns to the pollers' CPU.
    Returner {
        /// Counts from 0 over all returners.
        index: u32,
    },
    /// One process that hops over the CPUs of the next node.
    Hopper {
        /// Counts from 0 over all hoppers.
        index: u32,
    },
}

/// Everything a load process needs to know; travels as JSON in `argv[1]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// What this process is.
    pub role: Role,
    /// The whole load.
    pub spec: LoadSpec,
    /// Online CPUs of each node, in the order of nodes; a node without CPUs has an empty list.
    pub nodes: Vec<Vec<u32>>,
    /// Whether the pollers' memory comes from huge pages that are free on their node.
    pub hugepages: bool,
    /// The shared page with the pollers' counters, see [`crate::board`].
    pub board: PathBuf,
    /// Process ids of the roamers; only shufflers need them.
    #[serde(default)]
    pub roamers: Vec<i32>,
}

impl Role {
    /// Name of the process: in reports and, as it is short enough, its `comm` in the kernel.
    pub fn name(self) -> String {
        match self {
            Role::Pollers => "kv-pollers".into(),
            Role::Roamer { index } => format!("kv-roamer-{index}"),
            Role::Shuffler { index } => format!("kv-shuffle-{index}"),
            Role::Returner { index } => format!("kv-return-{index}"),
            Role::Hopper { index } => format!("kv-hopper-{index}"),
        }
    }
}

impl Assignment {
    /// All CPUs of all nodes, ascending.
    pub fn cpus(&self) -> Vec<u32> {
        let mut cpus: Vec<u32> = self.nodes.iter().flatten().copied().collect();
        cpus.sort_unstable();
        cpus
    }

    /// The CPUs that the pollers' node has.
    ///
    /// # Errors
    /// When there is no such node or it has no CPU.
    pub fn poller_cpus(&self) -> Result<&[u32]> {
        match self.nodes.get(self.spec.node as usize) {
            Some(cpus) if !cpus.is_empty() => Ok(cpus),
            Some(_) => bail!("node {} has no CPU", self.spec.node),
            None => bail!("there is no node {}", self.spec.node),
        }
    }
}

/// What a load process says about itself, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Prepared; waits for the end of its standard input.
    Ready {
        /// [`Role::name`].
        name: String,
    },
    /// Gave up and exits.
    Failed {
        /// [`Role::name`].
        name: String,
        /// Why.
        reason: String,
    },
}

impl Report {
    /// The line, with its newline.
    pub fn to_line(&self) -> String {
        match self {
            Report::Ready { name } => format!("ready {name}\n"),
            Report::Failed { name, reason } => {
                format!("failed {name} {}\n", reason.replace('\n', "; "))
            }
        }
    }

    /// Reads a line back.
    ///
    /// # Errors
    /// When the line is none of [`Report::to_line`]'s.
    pub fn from_line(line: &str) -> Result<Report> {
        let (word, rest) = line
            .trim_end()
            .split_once(' ')
            .context("a line of one word")?;
        match word {
            "ready" => Ok(Report::Ready { name: rest.into() }),
            "failed" => {
                let (name, reason) = rest.split_once(' ').unwrap_or((rest, "no reason given"));
                Ok(Report::Failed {
                    name: name.into(),
                    reason: reason.into(),
                })
            }
            other => bail!("unknown report {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_pipe() {
        for report in [
            Report::Ready {
                name: Role::Roamer { index: 7 }.name(),
            },
            Report::Failed {
                name: "kv-pollers".into(),
                reason: "mbind: no such node".into(),
            },
        ] {
            assert_eq!(Report::from_line(&report.to_line()).unwrap(), report);
        }
        assert!(Report::from_line("Segmentation fault").is_err());
    }

    #[test]
    fn a_reason_of_several_lines_stays_one_line() {
        let report = Report::Failed {
            name: "x".into(),
            reason: "one\ntwo".into(),
        };
        assert_eq!(report.to_line(), "failed x one; two\n");
    }

    #[test]
    fn names_fit_the_kernels_comm() {
        for role in [
            Role::Pollers,
            Role::Roamer { index: 1023 },
            Role::Shuffler { index: 63 },
            Role::Returner { index: 255 },
            Role::Hopper { index: 255 },
        ] {
            assert!(role.name().len() <= 15, "{}", role.name());
        }
    }
}
