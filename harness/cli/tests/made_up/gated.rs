//! Builds that stop where a test wants them to, and their progress while they run.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{MAKEFILE, Place};

/// A place whose compiler stops at a gate, and writes down what it compiles.
pub struct Gated {
    pub place: Place,
}

impl Gated {
    pub fn new() -> Self {
        let place = Place::new();
        let compile = "\t@cd $(O)";
        assert!(MAKEFILE.contains(compile));
        // One line for one shell, as in Kbuild: it goes on when make is killed.
        let gated = format!(
            "\t@echo $* >> {0}/compiled; while [ -e {0}/gate ]; do sleep 0.01; done; cd $(O)",
            place.root().display()
        );
        place.write("tree/Makefile", &MAKEFILE.replace(compile, &gated));
        place.write("gate", "");
        // Not enclosed: the gate lies outside.
        place.program("bin/bwrap", "#!/bin/sh\nexit 1\n");
        Self { place }
    }

    pub fn open(&self) {
        fs::remove_file(self.place.path("gate")).unwrap();
    }

    /// The files that compilers were started for so far.
    pub fn compiled(&self) -> Vec<String> {
        let text = fs::read_to_string(self.place.path("compiled")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn wait_until_compiling(&self) {
        while self.compiled().is_empty() {
            std::thread::yield_now();
        }
    }
}

/// A `kverdict build` whose progress is read while it runs.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Running {
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child = place
            .command(&["build", "tiny", "--json", "--jobs", "1"])
            .args(arguments)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads its progress up to a line with these words.
    pub fn wait_for_line(&mut self, words: &str) -> String {
        let found = self.lines.by_ref().find(|line| {
            let line = line.as_ref().unwrap();
            eprintln!("{line}");
            line.contains(words)
        });
        found
            .unwrap_or_else(|| panic!("it ended and never said `{words}`"))
            .unwrap()
    }

    /// Kills it together with what guards its compilers, which so outlive it.
    pub fn kill_with_guard(mut self) {
        let signal = |pid: u32, name| {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, name).unwrap();
        };
        // A kverdict that runs would see its guard die.
        signal(self.id(), Signal::STOP);
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let children = tasks.map(|task| {
            let children = task.unwrap().path().join("children");
            fs::read_to_string(children).unwrap()
        });
        let children: String = children.collect();
        let [guard] = children.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("one guard was expected: {children}");
        };
        signal(guard.parse().unwrap(), Signal::KILL);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn built(self) -> Value {
        let said: Vec<String> = self.lines.map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said.join("\n"));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
