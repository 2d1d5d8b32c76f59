//! Addresses in the guest's kernel that the holder has to know, and the text in which it is told.

use std::fmt;
use std::ops::Range;

/// A function or variable of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `cpu_stop_should_run()`: a migration thread looks for work. It goes to sleep if there is none.
    ShouldRun,
    /// `cpu_stopper_thread()`: there was some.
    StopperThread,
    /// `__switch_to()`: another task runs.
    SwitchTo,
    /// `stop_one_cpu_nowait()`: an active balance asks another CPU's stopper.
    StopOneNoWait,
    /// `cpu_stop_queue_work()`, which takes that stopper's lock.
    QueueWork,
    /// `stop_two_cpus()`: a swap of two tasks.
    StopTwo,
    /// `cpu_stop_queue_two_works()`, which takes both stoppers' locks; not there where it is inlined.
    QueueTwoWorks,
    /// `try_to_wake_up()`
    WakeUp,
    /// `irq_enter_rcu()`, before v5.8 `irq_enter()`: an interrupt, which may wake tasks of its own.
    Interrupt,
    /// `__per_cpu_offset[]`: an element is read to find a CPU's stopper, and says which CPU it is.
    PerCpuOffset,
}

/// All places, in the order of [`Place`].
pub const ALL: [Place; 10] = [
    Place::ShouldRun,
    Place::StopperThread,
    Place::SwitchTo,
    Place::StopOneNoWait,
    Place::QueueWork,
    Place::StopTwo,
    Place::QueueTwoWorks,
    Place::WakeUp,
    Place::Interrupt,
    Place::PerCpuOffset,
];

impl Place {
    /// The kernel's names for it from v3.10 to v6.12, those of newer kernels first.
    fn symbols(self) -> &'static [&'static str] {
        match self {
            Self::ShouldRun => &["cpu_stop_should_run"],
            Self::StopperThread => &["cpu_stopper_thread"],
            Self::SwitchTo => &["__switch_to"],
            Self::StopOneNoWait => &["stop_one_cpu_nowait"],
            Self::QueueWork => &["cpu_stop_queue_work"],
            Self::StopTwo => &["stop_two_cpus"],
            Self::QueueTwoWorks => &["cpu_stop_queue_two_works"],
            Self::WakeUp => &["try_to_wake_up"],
            Self::Interrupt => &["irq_enter_rcu", "irq_enter"],
            Self::PerCpuOffset => &["__per_cpu_offset"],
        }
    }

    /// The first of the names, which also stands for the place in texts.
    pub fn symbol(self) -> &'static str {
        self.symbols()[0]
    }

    /// Whether a kernel may do without: compilers inline what is called once.
    pub fn may_be_inlined(self) -> bool {
        match self {
            Self::QueueWork | Self::QueueTwoWorks => true,
            Self::ShouldRun
            | Self::StopperThread
            | Self::SwitchTo
            | Self::StopOneNoWait
            | Self::StopTwo
            | Self::WakeUp
            | Self::Interrupt
            | Self::PerCpuOffset => false,
        }
    }
}

/// Where the places of one kernel are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    found: Vec<(Place, Range<u64>)>,
}

impl Places {
    /// Looks all places up: `find` gives a symbol's addresses, from its first byte to the next symbol's.
    ///
    /// # Errors
    /// The names that the kernel lacks.
    pub fn find(find: impl Fn(&str) -> Option<Range<u64>>) -> Result<Self, Vec<&'static str>> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for place in ALL {
            match place.symbols().iter().find_map(|name| find(name)) {
                Some(range) => found.push((place, range)),
                None if place.may_be_inlined() => {}
                None => missing.push(place.symbol()),
            }
        }
        if missing.is_empty() {
            Ok(Self { found })
        } else {
            Err(missing)
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// The first line that is none of it, or the name of a place that is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Option<Vec<(&str, Range<u64>)>> = text.lines().map(line).collect();
        let lines = lines.ok_or_else(|| format!("not `NAME START END` in each line: {text:?}"))?;
        let find = |name: &str| {
            let of_name = lines.iter().find(|(found, _)| *found == name);
            of_name.map(|(_, range)| range.clone())
        };
        Self::find(find).map_err(|missing| format!("no {}", missing.join(", ")))
    }

    /// Addresses of a place, if the kernel has it.
    pub fn range(&self, place: Place) -> Option<Range<u64>> {
        let found = self.found.iter().find(|(found, _)| *found == place);
        found.map(|(_, range)| range.clone())
    }

    /// The place that begins at an address.
    pub fn entered(&self, address: u64) -> Option<Place> {
        let found = self.found.iter().find(|(_, range)| range.start == address);
        found.map(|(place, _)| *place)
    }

    /// The place that an address lies in.
    pub fn around(&self, address: u64) -> Option<Place> {
        let found = self
            .found
            .iter()
            .find(|(_, range)| range.contains(&address));
        found.map(|(place, _)| *place)
    }
}

fn line(text: &str) -> Option<(&str, Range<u64>)> {
    let mut words = text.split(' ');
    let name = words.next()?;
    let mut address = || u64::from_str_radix(words.next()?, 16).ok();
    let range = address()?..address()?;
    words.next().is_none().then_some((name, range))
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in &self.found {
            writeln!(f, "{} {:x} {:x}", place.symbol(), range.start, range.end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_but(missing: &[&str]) -> Result<Places, Vec<&'static str>> {
        Places::find(|name| {
            let index = ALL.iter().position(|place| place.symbol() == name)? as u64;
            let start = 0xffff_ffff_8100_0000 + index * 0x100;
            (!missing.contains(&name)).then_some(start..start + 0x80)
        })
    }

    #[test]
    fn places_survive_their_text() {
        let places = all_but(&["cpu_stop_queue_two_works"]).unwrap();
        assert_eq!(Places::parse(&places.to_string()).unwrap(), places);
        assert_eq!(places.range(Place::QueueTwoWorks), None);
    }

    #[test]
    fn what_must_be_there_is_named_when_it_is_not() {
        assert_eq!(
            all_but(&["stop_two_cpus", "cpu_stop_queue_work"]),
            Err(vec!["stop_two_cpus"])
        );
        assert!(Places::parse("").unwrap_err().contains("try_to_wake_up"));
        assert!(Places::parse("try_to_wake_up x y\n").is_err());
        assert!(Places::parse("try_to_wake_up 1 2 3\n").is_err());
    }

    #[test]
    fn an_address_is_an_entry_or_inside() {
        let places = all_but(&[]).unwrap();
        let two = places.range(Place::StopTwo).unwrap();
        assert_eq!(places.entered(two.start), Some(Place::StopTwo));
        assert_eq!(places.entered(two.start + 1), None);
        assert_eq!(places.around(two.end - 1), Some(Place::StopTwo));
        assert_eq!(places.around(two.end), None);
    }
}
