//! ccache, where it is installed: what was compiled once, for whichever kernel in whichever work
//! place, is not compiled again.
//!
//! It gets compilers' commands as they are, so that they make the same objects as without it: paths
//! in work places are relative already, and what depends on an absolute one (`-g`, kernels before
//! 3.15) is found again in its own place only. `CCACHE_BASEDIR` would find more, and change
//! `__FILE__`.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::cache::Cache;

/// Turns it off.
const SWITCH: &str = "KVERDICT_CCACHE";
/// Some 40 kernels of the base fragment.
const MAX_SIZE: &str = "2G";

/// What ccache did for one build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Compilations whose result it had.
    pub hits: u64,
    /// Compilations whose result it had not.
    pub misses: u64,
}

/// Whether ccache may be used.
///
/// # Errors
/// When the switch says neither.
pub fn is_wanted() -> Result<bool> {
    match std::env::var(SWITCH).as_deref() {
        Err(_) | Ok("" | "auto") => Ok(true),
        Ok("off") => Ok(false),
        Ok(other) => {
            bail!("{SWITCH} is `{other}`: it has to be `off`, or `auto` (where installed)")
        }
    }
}

/// What ccache is told: all of it here, nothing in files of the user or the machine. A compiler that
/// is ccache by another name goes by it, too.
pub fn environment(cache: &Cache, log: &Path, used: bool) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("CCACHE_CONFIGPATH", "/dev/null".to_owned()),
        ("CCACHE_DIR", cache.ccache().display().to_string()),
        ("CCACHE_MAXSIZE", MAX_SIZE.to_owned()),
        ("CCACHE_STATSLOG", log.display().to_string()),
    ];
    if !used {
        variables.push(("CCACHE_DISABLE", "1".to_owned()));
    }
    variables
}

/// Counts compilations in ccache's log of what it did: after a line `# FILE`, what became of that
/// file. Kbuild asks what the compiler can do by compiling `/dev/null`, which counts for nothing.
pub fn hits_in(log: &str) -> Hits {
    let mut hits = Hits::default();
    let mut of_kernel = false;
    for line in log.lines() {
        if let Some(file) = line.strip_prefix("# ") {
            of_kernel = file != "/dev/null";
            continue;
        }
        match line {
            "direct_cache_hit" | "preprocessed_cache_hit" if of_kernel => hits.hits += 1,
            "cache_miss" if of_kernel => hits.misses += 1,
            // Details of the above, and calls that compile nothing.
            _other => {}
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilations_are_counted_and_questions_to_the_compiler_are_not() {
        let log = "\
# ../kernel/a.c
cache_miss
direct_cache_miss
local_storage_miss
preprocessed_cache_miss
# ../kernel/a.c
direct_cache_hit
local_storage_hit
# ../kernel/b.c
direct_cache_miss
preprocessed_cache_hit
# /dev/null
cache_miss
# -
called_for_preprocessing
";
        assert_eq!(hits_in(log), Hits { hits: 2, misses: 1 });
        assert_eq!(hits_in(""), Hits::default());
    }
}
