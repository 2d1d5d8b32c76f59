//! A made-up kernel with a made-up bug, and an upstream repository with its fix in five commits.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::made_up::{Place, shell};

/// Where the made-up upstream is, commit by commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upstream {
    /// Wakes once the lock is dropped.
    pub fix: bool,
    /// A rewording: far from the others, or in the follow-up's way.
    pub tidy: Option<Tidy>,
    /// Keeps preemption off.
    pub follow_up: bool,
    /// Wakes by another call.
    pub form: bool,
}

/// What the tidy rewords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tidy {
    Far,
    InTheWay,
}

impl Upstream {
    pub fn text(self) -> String {
        let pick = |yes: bool, then: &'static str| if yes { then } else { "" };
        let wake = match self.form {
            true => "\twake_later(b->thread);\n",
            false => "\twake_up_process(b->thread);\n",
        };
        format!(
            "struct box {{ int lock, jobs, thread; }};\n\
             void spin_lock(int *lock);\nvoid spin_unlock(int *lock);\n\
             void preempt_disable(void);\nvoid preempt_enable(void);\n\
             void list_add_tail(int job, int *jobs);\n\
             void wake_up_process(int thread);\nvoid wake_later(int thread);\n\
             void check(struct box *b), count(struct box *b), note(int done);\n\n\
             int report(int number)\n{{\n{}\treturn number + 1;\n}}\n\n\
             int first(void)\n{{\n\treturn 1;\n}}\n\n\
             static int queue(struct box *b, int job)\n{{\n{}\n\tcheck(b);\n{}\
             \tspin_lock(&b->lock);\n\tlist_add_tail(job, &b->jobs);\n{}\
             \tspin_unlock(&b->lock);\n{}{}\tcount(b);\n\tdone = 1;\n\tnote(done);\n\treturn done;\n}}\n\n\
             int stop_two(struct box *b)\n{{\n\treturn queue(b, 2);\n}}\n\n\
             int stop_one(struct box *b)\n{{\n\treturn queue(b, 1);\n}}\n",
            pick(self.tidy == Some(Tidy::Far), "\t/* one more */\n"),
            match self.tidy {
                Some(Tidy::InTheWay) => "\tint done;\n",
                Some(Tidy::Far) | None => "\tint done = 0;\n",
            },
            pick(self.follow_up, "\tpreempt_disable();\n"),
            pick(!self.fix, wake),
            pick(self.fix, wake),
            pick(self.follow_up, "\tpreempt_enable();\n"),
        )
    }
}

/// Ids of the upstream's commits.
#[derive(Debug, Clone)]
pub struct Ids {
    pub fix: String,
    pub tidy: String,
    pub follow_up: String,
    pub form: String,
}

/// A kernel with the bug, the repository `upstream`, and a catalogue that knows both.
pub struct Backports {
    pub place: Place,
    pub ids: Ids,
}

impl Backports {
    pub fn new() -> Self {
        Self::with(Tidy::Far)
    }

    pub fn with(tidy: Tidy) -> Self {
        let place = Place::new();
        place.write("tree/kernel/a.c", &Upstream::default().text());
        place.write(
            "tree/kernel/b.c",
            "int swap_stop(void)\n{\n\treturn 2;\n}\n",
        );
        fs::create_dir(place.path("upstream")).unwrap();
        shell(&place.path("upstream"), "git init --quiet");
        let mut upstream = Upstream::default();
        commit(&place, upstream, "start");
        upstream.fix = true;
        let fix = commit(&place, upstream, "fix it");
        upstream.tidy = Some(tidy);
        let tidy = commit(&place, upstream, "tidy up");
        upstream.follow_up = true;
        let follow_up = commit(&place, upstream, "keep preemption off");
        upstream.form = true;
        let form = commit(&place, upstream, "another form");
        let ids = Ids {
            fix,
            tidy,
            follow_up,
            form,
        };
        let backports = Self { place, ids };
        backports.catalogue(&backports.ids, "");
        backports
    }

    /// Writes what the catalogue knows of the fix.
    pub fn catalogue(&self, ids: &Ids, more: &str) {
        let Ids {
            fix,
            tidy,
            follow_up,
            form,
        } = ids;
        let text = format!(
            "name: migrate-swap\nabout: made up\n\
             commit: &fix {{id: '{fix}', title: fix it, since: v2}}\n\
             needs:\n  - {{function: swap_stop, file: kernel/b.c, without: nothing swaps}}\n\
             file: kernel/a.c\nentries: [stop_two, stop_one]\nhelpers: [queue]\nlock: lock\n\
             queues: [list_add_tail]\nwakes: [wake_up_process, wake_later]\nforms:\n\
             \x20 - {{wakes: [wake_up_process], about: late, commit: *fix}}\n\
             \x20 - {{wakes: [wake_later], about: later, commit: {{id: '{form}', title: another form, since: v5}}}}\n\
             follow-ups:\n\
             \x20 - {{commit: {{id: '{follow_up}', title: keep preemption off, since: v4}}, entries: [stop_two, stop_one], preemption-off: since-unlock}}\n\
             tidies:\n  - {{id: '{tidy}', title: tidy up, since: v3}}\n\
             upstream-order: ['{fix}', '{tidy}', '{follow_up}', '{form}']\n{more}"
        );
        self.place.write("kernels/fixes/migrate-swap.yaml", &text);
    }

    /// Puts a tree in place of the one with the bug.
    pub fn tree(&self, text: &str) {
        self.place.write("tree/kernel/a.c", text);
    }

    /// Exit status, the advice as JSON, and what was said on stderr. Tree and repository have to stay as
    /// they were.
    pub fn advise(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let before = self.snapshot();
        let start = ["advise", "tiny", "--json"];
        let output = self.place.kverdict(&[&start[..], arguments].concat());
        assert_eq!(
            self.snapshot(),
            before,
            "the tree or the repository was changed"
        );
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), json, errors)
    }

    /// The same with the commits of the repository, which has to lead to this exit status.
    pub fn advised(&self, code: i32, more: &[&str]) -> Value {
        let upstream = ["--upstream", "upstream"];
        let (found, json, errors) = self.advise(&[&upstream[..], more].concat());
        assert_eq!(found, Some(code), "{json:#}\n{errors}");
        json
    }

    /// Writes all commits as patches into a folder, as git does.
    pub fn patches(&self) {
        shell(
            &self.place.path("upstream"),
            "git format-patch --quiet --root -o ../patches HEAD && rm ../patches/0001-*",
        );
    }

    fn snapshot(&self) -> String {
        shell(
            self.place.root(),
            "find tree upstream | sort; find tree upstream -type f | sort | xargs -d '\\n' sha256sum",
        )
    }
}

fn commit(place: &Place, upstream: Upstream, title: &str) -> String {
    place.write("upstream/kernel/a.c", &upstream.text());
    let folder = place.path("upstream");
    git(&folder, "add kernel/a.c");
    git(&folder, &format!("commit --quiet --message '{title}'"));
    git(&folder, "rev-parse --short=12 HEAD").trim().to_owned()
}

fn git(folder: &Path, words: &str) -> String {
    shell(
        folder,
        &format!("git -c user.name=x -c user.email=x@x {words}"),
    )
}
