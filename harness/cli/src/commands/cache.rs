//! `kverdict cache`: what the cache holds, and removing what was not used for longest.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use kverdict_core::pruning::{Aim, sizes};
use serde::Serialize;

use super::print;
use crate::build::cache::Cache;
use crate::build::inventory::{Inventory, Kind, now};
use crate::build::limit::{VARIABLE, parse_size};
use crate::build::pruning::{Manner, prune};
use crate::progress::Progress;

const DAY_S: u64 = 24 * 60 * 60;

/// Arguments of `kverdict cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    task: Option<Task>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Remove what was not used for longest, and nothing that a running kverdict uses [default: down to the limit]
    Prune {
        /// Size that may stay, such as 20GiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        to: Option<u64>,
        /// Remove all that was not used for so many days
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u64>,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// When the cache cannot be read, or something cannot be removed.
pub fn run(args: &CacheArgs) -> Result<ExitCode> {
    match &args.task {
        None => print(&Contents::of(&Cache::to_look_at()?)?, args.json)?,
        Some(Task::Prune {
            to,
            older_than,
            dry_run,
        }) => {
            let cache = Cache::from_environment()?;
            let manner = if *dry_run {
                Manner::DryRun
            } else {
                Manner::Really
            };
            let at_most = match (to, older_than) {
                (None, None) => cache.limit()?,
                (to, _) => *to,
            };
            let not_used_since =
                older_than.map(|days| now().saturating_sub(days.saturating_mul(DAY_S)));
            let aim = Aim {
                at_most,
                not_used_since,
            };
            print(&prune(&cache, aim, manner, &Progress::detect())?, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the cache holds.
#[derive(Debug, Serialize)]
struct Contents {
    root: String,
    bytes: u64,
    limit_bytes: Option<u64>,
    /// Of it, what cannot be pruned.
    rest_bytes: u64,
    /// What was used last comes first; what is at the end is pruned first.
    things: Vec<Thing>,
}

#[derive(Debug, Serialize)]
struct Thing {
    kind: Kind,
    name: String,
    about: String,
    /// Files that several things have count for the first.
    bytes: u64,
    last_used: Timestamp,
    in_use: bool,
    #[serde(skip)]
    last_use: String,
}

impl Contents {
    fn of(cache: &Cache) -> Result<Self> {
        let inventory = Inventory::of(cache)?;
        let sizes = sizes(&inventory.entries());
        let bytes = sizes.iter().sum::<u64>() + inventory.rest_bytes;
        let now = now();
        let mut things = Vec::new();
        for (item, bytes) in inventory.items.into_iter().zip(sizes) {
            things.push(Thing {
                bytes,
                last_used: Timestamp::from_second(i64::try_from(item.entry.last_used)?)?,
                in_use: item.entry.in_use,
                last_use: item.last_use(now),
                kind: item.kind,
                name: item.name,
                about: item.about,
            });
        }
        things.sort_by_key(|thing| std::cmp::Reverse((thing.in_use, thing.last_used)));
        Ok(Self {
            root: cache.root().display().to_string(),
            bytes,
            limit_bytes: cache.limit()?,
            rest_bytes: inventory.rest_bytes,
            things,
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| ByteSize(bytes).display().iec().to_string();
        let limit = match self.limit_bytes {
            Some(bytes) => format!("of at most {}", size(bytes)),
            None => "without a limit".to_owned(),
        };
        writeln!(
            f,
            "{}: {} {limit} ({VARIABLE})",
            self.root,
            size(self.bytes)
        )?;
        if self.things.is_empty() {
            return write!(f, "there is nothing in it yet");
        }
        writeln!(
            f,
            "\n{:<9} {:>10}  {:<12} what",
            "kind", "size", "last used"
        )?;
        for thing in &self.things {
            writeln!(
                f,
                "{:<9} {:>10}  {:<12} {:<12.12} {}",
                thing.kind,
                size(thing.bytes),
                thing.last_use,
                thing.name,
                thing.about
            )?;
        }
        write!(
            f,
            "{:<9} {:>10}  {:<12} notes that stay",
            "rest",
            size(self.rest_bytes),
            ""
        )
    }
}
