//! A made-up kernel of two C files, and a place to build it with the real program.

// Every test program uses another part of it.
#![allow(dead_code)]

pub mod gated;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A console with the lockup, of a real boot.
pub const TARGET_LOCKUP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../core/tests/logs/target-6.12-reintroduced.log"
);

const MAKEFILE: &str = r#"
objects := $(O)/kernel/a.o $(O)/kernel/b.o
allnoconfig:
	@grep -v NEEDS_NET "$(KCONFIG_ALLCONFIG)" > $(O)/.config
	@echo CONFIG_ALWAYS=y >> $(O)/.config
bzImage: $(O)/vmlinux
	@mkdir -p $(O)/arch/x86/boot $(O)/include/config
	@cp $(O)/vmlinux $(O)/arch/x86/boot/bzImage
	@echo 6.99.0-made-up > $(O)/include/config/kernel.release
$(O)/vmlinux: $(objects)
	@cat $^ > $@
	@echo "ffffffff81000000 T _text" > $(O)/System.map
$(O)/kernel/%.o: kernel/%.c
	@mkdir -p $(@D)
	@echo "  CC      kernel/$*.o"
	@cd $(O) && $(CC) -c -o kernel/$*.o ../$<
	@touch $(@D)/.$*.o.cmd
"#;

const KCONFIG: &str = "config NEEDS_NET\n\tbool \"Needs net\"\n\tdepends on NET\n";

pub const FILES: [(&str, &str); 4] = [
    ("Makefile", MAKEFILE),
    ("Kconfig", KCONFIG),
    ("kernel/a.c", "int a(void)\n{\n\treturn 1;\n}\n"),
    ("kernel/b.c", "int b(void)\n{\n\treturn 2;\n}\n"),
];

pub const FIX: &str = "\
--- a/kernel/a.c
+++ b/kernel/a.c
@@ -1,4 +1,4 @@
 int a(void)
 {
-\treturn 1;
+\treturn 3;
 }
";

pub const DEFECT: &str = "\
--- a/kernel/a.c
+++ b/kernel/a.c
@@ -1,4 +1,5 @@
+const char mark[] = \"DEFECT\";
 int a(void)
 {
 \treturn 1;
 }
";

/// The campaign that comes with kverdict, of this kernel and without what is compiled into others.
pub fn campaign() -> String {
    include_str!("../../../../configs/migrate-swap.yaml")
        .replace("kernel: debian-6.12", "kernel: tiny")
        .replace("    apply: [amplify, reintroduce-0b26351b910f]\n", "")
        .replace("    apply: [amplify]\n", "")
        .replace("accelerator: auto", "accelerator: tcg")
}

/// A bzImage, as far as its header goes, of the release `6.99`.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image[0x300..0x306].copy_from_slice(b"6.99 x");
    image
}

/// A folder with a kernel tree, a catalogue and a cache.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (path, text) in FILES {
            place.write(&format!("tree/{path}"), text);
        }
        place.write("kernels/fragments/tiny.config", "CONFIG_A=y\n");
        place.write("fix.patch", FIX);
        place.kernel("tree: {path: ../tree}");
        place
    }

    pub fn kernel(&self, source: &str) {
        let text = format!(
            "name: tiny\nabout: made up\nera: '6.99'\nsource:\n  {source}\nfragments: [tiny]\nfix: {{state: unknown, from: made up}}\n"
        );
        self.write("kernels/tiny.yaml", &text);
    }

    /// A kernel of the same name that is not built.
    pub fn binary(&self, binary: &str) {
        let text = format!(
            "name: tiny\nabout: made up\nera: '6.99'\nbinary:\n  {binary}\nfix: {{state: unknown, from: made up}}\n"
        );
        self.write("kernels/tiny.yaml", &text);
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub fn write_bytes(&self, path: &str, text: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn build(&self, arguments: &[&str]) -> Output {
        self.kverdict(&[&["build", "tiny", "--json"], arguments].concat())
    }

    pub fn kverdict(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env("KVERDICT_CACHE", self.path("cache"))
            .output()
            .unwrap()
    }

    /// Puts a script in QEMU's place, which plays the guest for [`Place::start`]; `guest.sh` says what it has.
    pub fn guest(&self, script: &str) {
        fs::copy(TARGET_LOCKUP, self.path("lockup.log")).unwrap();
        self.emulator(&format!("{}{script}", include_str!("guest.sh")));
    }

    /// Puts a program in QEMU's place.
    pub fn emulator(&self, script: &str) {
        self.program("bin/qemu-system-x86_64", script);
    }

    /// A script that can be run.
    pub fn program(&self, path: &str, script: &str) {
        self.write(path, script);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.start_with(arguments, &[])
    }

    /// The same with more variables.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let arguments = [arguments, &["--catalogue", "kernels"]].concat();
        self.command(&arguments)
            .envs(variables.iter().copied())
            .spawn()
            .unwrap()
    }

    /// The same by a shell's script that has the command as its arguments.
    pub fn start_by(&self, script: &str, arguments: &[&str]) -> Child {
        let arguments = [arguments, &["--catalogue", "kernels"]].concat();
        let mut shell = self.in_place(Command::new("sh"));
        shell
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_kverdict")])
            .args(arguments)
            .spawn()
            .unwrap()
    }

    /// The same, of a command that needs no kernels.
    pub fn start_alone(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.in_place(Command::new(env!("CARGO_BIN_EXE_kverdict")));
        command.args(arguments);
        command
    }

    fn in_place(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap();
        command
            .current_dir(self.dir.path())
            .env("KVERDICT_CACHE", self.path("cache"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("TEST", self.root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Exit status, the report if it was asked for as JSON, and what was said beside it.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.start(arguments).wait_with_output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), report, errors)
    }

    /// The folder of the only run.
    pub fn run_dir(&self) -> PathBuf {
        let mut runs = self.runs();
        assert_eq!(runs.len(), 1, "one run was expected");
        runs.remove(0)
    }

    /// The folders of all runs; beside them is the history.
    pub fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("results")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// Lines in the only run's list of trials; 0 before there is one.
    pub fn trials(&self) -> usize {
        if self.runs().is_empty() {
            return 0;
        }
        let text = fs::read_to_string(self.run_dir().join("trials.jsonl"));
        text.unwrap_or_default().lines().count()
    }

    pub fn built(&self, arguments: &[&str]) -> Value {
        let output = self.build(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn failed(&self, arguments: &[&str], code: i32, kind: &str) -> String {
        let output = self.build(arguments);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{value}");
        assert_eq!(value["failure"], kind, "{value}");
        value["message"].as_str().unwrap().to_owned()
    }

    pub fn tarball(&self) -> String {
        let status = Command::new("tar")
            .args(["--create", "--file", "tiny.tar", "tree"])
            .current_dir(self.dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        let output = Command::new("sha256sum")
            .arg(self.path("tiny.tar"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)[..64].to_owned()
    }

    /// Where the cache keeps the source of a build.
    pub fn cached_source(&self, built: &Value) -> PathBuf {
        let digest = built["source"]["digest"].as_str().unwrap();
        self.path("cache/sources").join(digest)
    }

    /// Makes an rpm of a spec below `rpm`, with what lies in `rpm/SOURCES`.
    pub fn rpmbuild(&self, what: &str, spec: &str) {
        assert!(
            Path::new("/usr/bin/rpmbuild").exists(),
            "rpmbuild is not installed: `cargo xtask test --install-deps` installs the package rpm"
        );
        self.write("rpm/kernel.spec", spec);
        let top = self.path("rpm");
        let script = format!(
            "rpmbuild {what} --define '_topdir {}' --define 'dist .el7' --nodeps rpm/kernel.spec",
            top.display()
        );
        shell(self.root(), &script);
    }
}

/// Runs a script of the test's own in a folder; what it prints.
pub fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {errors}{said}");
    said
}
