//! What somebody gets who installs kverdict: a program that needs nothing beside it, with its manual pages and
//! completions.

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kverdict");

/// What a command prints that has to succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn kverdict(arguments: &[&str]) -> String {
    output(Command::new(PROGRAM).args(arguments))
}

/// Names of the commands that the help of `program` lists.
fn commands(program: &[&str]) -> Vec<String> {
    let help = kverdict(&[program, &["--help"]].concat());
    let listed = help
        .split_once("\nCommands:\n")
        .map_or("", |(_, rest)| rest);
    listed
        .lines()
        .take_while(|line| !line.is_empty())
        // What a command is for may go on in a line that is indented further.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["", "help"].contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn it_runs_where_there_is_nothing_but_itself() {
    let root = tempfile::tempdir().unwrap();
    fs::copy(PROGRAM, root.path().join("kverdict")).unwrap();
    let alone = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--wd=/", "--root"])
            .arg(root.path())
            .arg("/kverdict")
            .args(arguments)
            .env_clear();
        output(&mut command)
    };
    // Neither the loader nor libraries are there, nor the tree that has the catalogue and the campaigns.
    assert!(alone(&["kernels"]).contains("\ndebian-6.12 "));
    assert!(alone(&["kernels", "show", "el7-514"]).contains("(embedded)"));
    assert!(alone(&["schema", "campaign"]).contains("\"Campaign\""));
    assert!(alone(&["build", "--help"]).contains("Usage: kverdict build"));
    alone(&["man", "/man"]);
    assert!(root.path().join("man/kverdict.1").is_file());
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    kverdict(&["man", folder.path().to_str().unwrap()]);
    let page = |name: &str| fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
    assert!(
        page("kverdict").contains("could not tell"),
        "the exit status"
    );
    let mut pages = 1;
    for command in commands(&[]) {
        let name = format!("kverdict-{command}");
        assert!(page("kverdict").contains(&name.replace('-', "\\-")));
        let text = page(&name);
        assert!(text.contains(".SH OPTIONS"), "{text}");
        pages += 1;
        for below in commands(&[&command]) {
            page(&format!("{name}-{below}"));
            pages += 1;
        }
    }
    assert!(pages > 20, "the help lists {pages} commands");
    let written = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(written, pages, "there are pages of no command");
}

#[test]
fn manual_pages_that_cannot_be_written_are_an_error() {
    let output = Command::new(PROGRAM)
        .args(["man", "/dev/null/man"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(131));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("/dev/null/man/kverdict.1"), "{stderr}");
}

#[test]
fn each_command_is_completed_in_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = kverdict(&["completions", shell]);
        for command in commands(&[]) {
            let words = || script.split(|c: char| !c.is_alphanumeric() && c != '-');
            assert!(words().any(|word| word == command), "{shell}: {command}");
        }
    }
}

#[test]
fn bash_completes_commands_and_options_but_not_what_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("kverdict.bash");
    fs::write(&script, kverdict(&["completions", "bash"])).unwrap();
    assert_eq!(completed(&script, "kverdict ver"), "verify\n");
    assert!(completed(&script, "kverdict verify --lock").contains("--lockups\n"));
    assert_eq!(completed(&script, "kverdict schema t"), "tune\n");
    assert_eq!(completed(&script, "kverdict schema x"), "");
}

/// What bash offers for the last word of a line, one a line.
fn completed(script: &Path, line: &str) -> String {
    let ask = r#"
        . "$1"
        COMP_WORDS=($2)
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _kverdict kverdict "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    output(
        Command::new("bash")
            .args(["-c", ask, "bash"])
            .arg(script)
            .arg(line),
    )
}
