//! Who makes the trials of a run: threads here, or programs elsewhere that do the same by a [`spec::Spec`].

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

pub mod command;
pub mod local;
pub mod one;
pub mod results;
pub mod room;
pub mod slurm;
pub mod spec;
pub mod threads;

/// Makes trials, several at a time.
pub trait Executor {
    /// Whether it would begin another one now, with so many under way.
    ///
    /// # Errors
    /// When the host does not tell what is free.
    fn has_room(&mut self, under_way: usize) -> Result<bool>;

    /// Begins with a trial. To be asked for only while there is room.
    ///
    /// # Errors
    /// Trouble of the host.
    fn start(&mut self, order: &Order) -> Result<()>;

    /// Waits until one has ended, whichever is first.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; whatever a guest does is an outcome.
    fn wait(&mut self) -> Result<TrialRecord>;
}

/// Who makes trials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// This process.
    Local,
    /// A cluster that Slurm manages.
    Slurm,
    /// A program that asks somebody elsewhere.
    Program(PathBuf),
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "slurm" => Ok(Self::Slurm),
            path if path.contains('/') => Ok(Self::Program(PathBuf::from(path))),
            _ => Err("write `local`, `slurm`, or a path such as ./by-ssh.sh".to_owned()),
        }
    }
}

/// How many trials run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// As many as have CPUs and memory of their own, and always one.
    Auto,
    /// At most so many, whether or not there is a CPU for each vCPU; memory permitting.
    AtMost(usize),
}

impl Jobs {
    /// How many at a time where nobody knows what the machines have: `default`, unless it was said.
    fn or(self, default: usize) -> usize {
        match self {
            Self::Auto => default,
            Self::AtMost(jobs) => jobs,
        }
    }
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(jobs @ 1..=4096)) => Ok(Self::AtMost(jobs)),
            (_, Ok(_) | Err(_)) => Err("write `auto` or a number from 1 to 4096".to_owned()),
        }
    }
}

/// Arguments that say where trials run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where trials run")]
pub struct ExecutorArgs {
    /// Trials side by side: `auto` is as many as have a CPU of their own for each vCPU, and memory; a number may be more than
    /// have CPUs
    #[arg(long, short, default_value = "auto", value_name = "N")]
    pub jobs: Jobs,
    /// Who makes trials: `local`, `slurm`, or the path of a program that has one made elsewhere: called with SPEC,
    /// INDEX and DIR, it has `kverdict trial --spec SPEC --index INDEX --out DIR` run, and brings the folder back
    #[arg(long, default_value = "local", value_name = "WHO")]
    pub executor: Kind,
    /// Argument for sbatch, such as --slurm-arg=--constraint=kvm; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub slurm_arg: Vec<String>,
}

impl Default for ExecutorArgs {
    fn default() -> Self {
        Self {
            jobs: Jobs::Auto,
            executor: Kind::Local,
            slurm_arg: Vec::new(),
        }
    }
}
