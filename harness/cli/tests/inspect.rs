//! `kverdict inspect` as people run it: files that are what they should be, and files that are not.

use std::path::Path;
use std::process::Command;

const CORE: &str = "int migrate_swap_stop(void) { return stop_two_cpus(1, 2); }\n";

/// A file in which everybody queues and wakes like this.
fn stop_machine(queue: &str) -> String {
    let entry = |name: &str| format!("int {name}(int cpu)\n{{\n\treturn queue(cpu);\n}}\n");
    let entries = ["stop_two_cpus", "stop_one_cpu", "stop_one_cpu_nowait"].map(entry);
    format!(
        "static int queue(int cpu)\n{{\n{queue}\n}}\n{}",
        entries.concat()
    )
}

const EARLY: &str = "\tspin_lock(&b->lock);\n\tlist_add_tail(j, &b->jobs);\n\twake_up_process(b->t);\n\tspin_unlock(&b->lock);\n\treturn 0;";
const LATE: &str = "\tpreempt_disable();\n\tspin_lock(&b->lock);\n\tlist_add_tail(j, &b->jobs);\n\tspin_unlock(&b->lock);\n\twake_up_process(b->t);\n\tpreempt_enable();\n\treturn 0;";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn tree(self, queue: &str) -> Self {
        let kernel = self.path().join("tree/kernel");
        std::fs::create_dir_all(kernel.join("sched")).unwrap();
        std::fs::write(kernel.join("sched/core.c"), CORE).unwrap();
        std::fs::write(kernel.join("stop_machine.c"), stop_machine(queue)).unwrap();
        self
    }

    fn file(self, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.path().join(name), bytes).unwrap();
        self
    }

    /// Exit status, standard output and error.
    fn inspect(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .arg("inspect")
            .args(args)
            .current_dir(self.path())
            .env("KVERDICT_CACHE", self.path().join("cache"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// What an input is refused with.
    fn refused(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.inspect(args);
        assert_eq!(code, Some(129), "{stderr}");
        assert_eq!(stdout, "");
        stderr
    }
}

#[test]
fn a_tree_is_read_and_the_exit_status_says_what_came_out() {
    let (code, text, error) = Place::new().tree(LATE).inspect(&["tree"]);
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.starts_with("tree: source tree\n"), "{text}");
    assert!(text.contains("deadlock\"): fixed\n"), "{text}");
    let (code, text, _) = Place::new().tree(EARLY).inspect(&["tree", "--json"]);
    assert_eq!(code, Some(1), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["state"], "affected");
    assert_eq!(finding["evidence"][0]["place"], "kernel/stop_machine.c:5");
    assert_eq!(finding["missing"][0]["id"], "0b26351b910f");
    let (code, text, _) = Place::new().tree("\treturn 0;").inspect(&["tree"]);
    assert_eq!(code, Some(125), "{text}");
}

#[test]
fn a_patch_changes_what_is_read_and_not_the_tree() {
    let place = Place::new().tree(EARLY);
    let after = "--- a/kernel/stop_machine.c\n+++ b/kernel/stop_machine.c\n@@ -3,7 +3,9 @@\n \
                 \tspin_lock(&b->lock);\n \tlist_add_tail(j, &b->jobs);\n-\twake_up_process(b->t);\n+\tpreempt_disable();\n \
                 \tspin_unlock(&b->lock);\n+\twake_up_process(b->t);\n+\tpreempt_enable();\n \treturn 0;\n }\n int stop_two_cpus(int cpu)\n";
    let place = place.file("fix.patch", after.as_bytes());
    let (code, text, error) = place.inspect(&["tree", "--apply", "fix.patch"]);
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.contains("with fix.patch"), "{text}");
    assert_eq!(place.inspect(&["tree"]).0, Some(1), "the tree was changed");
}

#[test]
fn what_is_no_kernel_is_named_with_what_was_expected() {
    let image = |size: usize| {
        let mut image = vec![0; size];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
        image[0x24c..0x250].copy_from_slice(&2000_u32.to_le_bytes());
        image
    };
    let place = Place::new()
        .file("garbage", b"no kernel")
        .file("empty", b"")
        .file("cut-elf", b"\x7fELF\x02\x01\x01")
        .file("cut-image", &image(2000))
        .file("strange-image", &image(4000));
    std::fs::create_dir(place.path().join("folder")).unwrap();
    for (args, words) in [
        (
            &["nothing"][..],
            "there is no file, folder or kernel `nothing`",
        ),
        (&["garbage"], "garbage is no kernel: expected a vmlinux"),
        (&["empty"], "empty is no kernel"),
        (&["folder"], "folder has no file kernel/"),
        (&["cut-elf"], "cut-elf: no whole ELF file"),
        (&["cut-image"], "cut-image is cut off"),
        (
            &["strange-image"],
            "compressed in a way that is not understood",
        ),
        (
            &["garbage", "--fix", "nope"],
            "there is no fix `nope`; known: migrate-swap",
        ),
        (&["garbage", "--apply", "amplify"], "cannot go into it"),
        (&["folder", "--symbols", "garbage"], "source needs none"),
        (&["folder", "--apply", "nope"], "there is no patch `nope`"),
    ] {
        let text = place.refused(args);
        assert!(text.contains(words), "{args:?}: {text}");
    }
}

#[test]
fn damaged_packages_and_kernels_say_so() {
    let mut image = vec![0; 4000];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    image[0x24c..0x250].copy_from_slice(&2000_u32.to_le_bytes());
    image[1024..1026].copy_from_slice(&[0x1f, 0x8b]);
    let place = Place::new()
        .file("damaged", &image)
        .file("cut.deb", b"!<arch>\nnothing more")
        .file("cut.rpm", &[0xed, 0xab, 0xee, 0xdb, 0]);
    for (name, words) in [
        ("damaged", "cannot unpack damaged: it is damaged"),
        ("cut.deb", "the package cut.deb: if it is damaged"),
        ("cut.rpm", "the package cut.rpm: if it is damaged"),
    ] {
        let text = place.refused(&[name]);
        assert!(text.contains(words), "{text}");
    }
}
