//! From the start of QEMU to the first word of user space: kverdict beside virtme-ng and vmtest.
//! `cargo bench -p kverdict --bench boot`; builds the kernel first when the cache does not have it.
//!
//! All boot the same kernel by the same QEMU and accelerator, with as many vCPUs, as much memory and the
//! same nodes, in turns. The clock starts when QEMU does, whoever starts it: what the programs do
//! before is not counted. It stops at the agent's hello, and for the others at what the command
//! prints that they were asked to run, as it comes out of their own standard output.
//!
//! Programs are looked for in PATH; who is not there is left out, and the text says so.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Boots of each.
const ROUNDS: usize = 9;
/// The first of the contenders are kverdict itself.
const OWN: usize = 2;
/// The kernel and its fragment.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/boot");
const QEMU: &str = "qemu-system-x86_64";
/// What the others are asked to run. Its own text is not what it prints: a cmdline that is echoed
/// is no answer.
const COMMAND: &str = "echo user-space-is-$((40+2))";
const WORD: &str = "user-space-is-42";
/// kverdict's median may be so much of the better of the others'.
const GOAL: f64 = 0.8;
/// For `timeout`: another program's boot that takes so many seconds hangs.
const LIMIT: [&str; 2] = ["--kill-after=5", "120"];

/// The machine of campaign.yaml, for QEMU: two nodes of four vCPUs and 512 MiB.
const NODES: [&str; 12] = [
    "-smp",
    "8,sockets=2,cores=4,threads=1",
    "-object",
    "memory-backend-ram,id=mem0,size=512M",
    "-object",
    "memory-backend-ram,id=mem1,size=512M",
    "-numa",
    "node,nodeid=0,cpus=0-3,memdev=mem0",
    "-numa",
    "node,nodeid=1,cpus=4-7,memdev=mem1",
    "-numa",
    "dist,src=0,dst=1,val=20",
];

fn main() {
    let others: Vec<&Other> = OTHERS.iter().filter(|other| other.is_here()).collect();
    if others.is_empty() {
        println!("boot: nobody to compare with, nothing was measured");
        return;
    }
    let place = Place::new();
    let subject = place.first_boot();
    let mut contenders = vec![
        Contender::new("kverdict", kverdict("shortest")),
        Contender::new(
            "kverdict, bzImage by the PC's firmware",
            kverdict("bzimage"),
        ),
    ];
    contenders.extend(
        others
            .iter()
            .map(|other| Contender::new(other.name, (other.prepare)(&place, &subject))),
    );
    for round in 1..=ROUNDS {
        for contender in &mut contenders {
            match (contender.run)(&place) {
                Ok(took) => contender.took.push(took),
                Err(why) => eprintln!("{}: {why}", contender.name),
            }
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    report(&contenders, subject.tcg);
}

/// What everybody boots.
struct Subject {
    image: PathBuf,
    /// Whether instructions are translated, because KVM does not work here.
    tcg: bool,
}

/// A program that kverdict is compared with.
struct Other {
    name: &'static str,
    /// Programs that it takes, and where they come from.
    needs: &'static [(&'static str, &'static str)],
    prepare: fn(&Place, &Subject) -> Boot,
}

static OTHERS: [Other; 2] = [
    Other {
        name: "virtme-ng",
        needs: &[
            ("vng", "`pip install virtme-ng` in a virtual environment"),
            // Its guest finds the way back for what the command prints by udev.
            ("udevadm", "Debian's udev"),
        ],
        prepare: virtme_ng,
    },
    Other {
        name: "vmtest",
        needs: &[
            ("vmtest", "`cargo install vmtest`"),
            ("qemu-ga", "Debian's qemu-guest-agent"),
            ("bwrap", "Debian's bubblewrap"),
        ],
        prepare: vmtest,
    },
];

impl Other {
    /// Whether it can be run here; says what is missing.
    fn is_here(&self) -> bool {
        let missing = self
            .needs
            .iter()
            .find(|(program, _)| which(program).is_none());
        if let Some((program, from)) = missing {
            println!(
                "boot: {} is left out: {program} is not in PATH ({from})",
                self.name
            );
        }
        missing.is_none()
    }
}

/// One way to boot, and the seconds it took so far.
struct Contender {
    name: &'static str,
    run: Boot,
    took: Vec<f64>,
}

type Boot = Box<dyn Fn(&Place) -> Result<f64, String>>;

impl Contender {
    fn new(name: &'static str, run: Boot) -> Self {
        let took = Vec::new();
        Self { name, run, took }
    }

    fn median(&self) -> Option<f64> {
        let mut sorted = self.took.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(sorted[half]),
            _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
        }
    }

    /// 95 % interval of the median, by order statistics: the median lies outside of the k-th
    /// smallest and largest only if fewer than k of the boots fall on one side of it.
    fn interval(&self) -> Option<(f64, f64)> {
        let mut sorted = self.took.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let mut below = 0.5_f64.powi(i32::try_from(count).ok()?);
        let (mut term, mut outermost) = (below, None);
        for index in 0..count / 2 {
            if 2.0 * below > 0.05 {
                break;
            }
            outermost = Some((sorted[index], sorted[count - 1 - index]));
            term *= (count - index) as f64 / (index + 1) as f64;
            below += term;
        }
        outermost
    }
}

fn report(contenders: &[Contender], tcg: bool) {
    let accelerator = if tcg { "TCG" } else { "KVM" };
    println!("from the start of QEMU to user space, 8 vCPUs, 2 nodes, {accelerator}:");
    for contender in contenders {
        let (Some(median), Some((from, to))) = (contender.median(), contender.interval()) else {
            println!("  {:40} too few boots", contender.name);
            continue;
        };
        println!(
            "  {:40} {median:.2} s (95 % interval of the median {from:.2} to {to:.2}, {} boots)",
            contender.name,
            contender.took.len()
        );
    }
    let others = contenders[OWN..].iter().filter_map(Contender::median);
    let better = others.min_by(f64::total_cmp);
    if let (Some(own), Some(better)) = (contenders[0].median(), better) {
        let ratio = own / better;
        let held = if ratio <= GOAL { "within" } else { "beyond" };
        println!(
            "kverdict takes {ratio:.2} of the better of the others: {held} the goal of {GOAL}"
        );
    }
}

/// Folders of this run: QEMU's stand-in, results, and what else is written.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder can be made");
        let place = Self { root };
        fs::create_dir(place.bin()).expect("a folder can be made");
        let real = which(QEMU).expect("QEMU is installed");
        // Firmware is looked for beside QEMU.
        let shared = real.with_file_name("../share");
        symlink(shared, place.root.path().join("share")).expect("a link can be made");
        // Only a start with a kernel counts: the others ask QEMU for its version first.
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' -kernel '*) date +%s.%N >{} ;; esac\nexec {} \"$@\"\n",
            place.stamp().display(),
            real.display()
        );
        let stand_in = place.bin().join(QEMU);
        fs::write(&stand_in, script).expect("the stand-in can be written");
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("and made to run");
        place
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    fn stamp(&self) -> PathBuf {
        self.root.path().join("qemu-started")
    }

    /// The command with QEMU's stand-in first in its PATH.
    fn command(&self, program: &str) -> Command {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.bin()).chain(env::split_paths(&path));
        let mut command = Command::new(program);
        command
            .env(
                "PATH",
                env::join_paths(folders).expect("folders without colons"),
            )
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts the command, and counts seconds from QEMU's start to the line with [`WORD`].
    fn until_the_word(&self, command: &mut Command) -> Result<f64, String> {
        let _ = fs::remove_file(self.stamp());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut heard = None;
        // To the end, because a program whose output nobody takes may die and leave its guest.
        for line in lines.map_while(Result::ok) {
            if line.contains(WORD) {
                heard.get_or_insert_with(now);
            }
        }
        let _ = child.wait();
        let heard = heard.ok_or("it ended without the command's word")?;
        let started = fs::read_to_string(self.stamp()).map_err(|error| error.to_string())?;
        let started: f64 = started.trim().parse().map_err(|_| "a torn time stamp")?;
        Ok(heard - started)
    }

    fn trial(&self, boot: &str) -> Result<Value, String> {
        let campaign = include_str!("boot/campaign.yaml");
        let file = self.root.path().join("campaign.yaml");
        let campaign = campaign.replace("guest:\n", &format!("guest:\n  boot: {boot}\n"));
        fs::write(&file, campaign).expect("the campaign can be written");
        let results = self.root.path().join("results");
        let _ = fs::remove_dir_all(&results);
        let output = self
            .command(env!("CARGO_BIN_EXE_kverdict"))
            .args([
                "trial",
                "--minutes",
                "0.001",
                "--catalogue",
                FOLDER,
                "--campaign",
            ])
            .arg(&file)
            .arg("--results")
            .arg(&results)
            .output()
            .map_err(|error| error.to_string())?;
        let records = find(&results, "trials.jsonl").and_then(|path| fs::read_to_string(path).ok());
        let first = records.as_deref().and_then(|text| text.lines().next());
        first
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Builds the kernel, and finds out how guests run here.
    fn first_boot(&self) -> Subject {
        let record = self.trial("shortest").expect("kverdict boots the kernel");
        let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(["build", "boots-anywhere", "--json", "--catalogue", FOLDER])
            .output()
            .expect("kverdict runs");
        let built: Value = serde_json::from_slice(&output.stdout).expect("the build as JSON");
        assert_eq!(built["key"], record["build"], "one kernel for all");
        Subject {
            image: built["bzimage"].as_str().expect("an image").into(),
            tcg: record["accelerator"] == "TCG",
        }
    }
}

/// A trial of kverdict's; its record says how long the hello took.
fn kverdict(boot: &'static str) -> Boot {
    Box::new(move |place| {
        let record = place.trial(boot)?;
        let ms = record["timing"]["hello_ms"].as_f64();
        ms.map(|ms| ms / 1000.0)
            .ok_or_else(|| record["title"].to_string())
    })
}

/// virtme-ng, as it is: quiet, and with the faster of its two inits.
fn virtme_ng(_place: &Place, subject: &Subject) -> Boot {
    let mut args = vec!["--run".to_owned(), subject.image.display().to_string()];
    let machine =
        "--cpus 8 --memory 1024M --numa 512M,cpus=0-3 --numa 512M,cpus=4-7 --numa-distance 0,1=20";
    args.extend(machine.split(' ').map(str::to_owned));
    args.extend(subject.tcg.then(|| "--disable-kvm".to_owned()));
    args.extend(["--exec".to_owned(), COMMAND.to_owned()]);
    Box::new(move |place| {
        let mut command = place.command("timeout");
        place.until_the_word(command.args(LIMIT).arg("vng").args(&args))
    })
}

/// vmtest takes KVM wherever there is /dev/kvm, so it gets a /dev without it where KVM does not work.
fn vmtest(place: &Place, subject: &Subject) -> Boot {
    let config = format!(
        "[[target]]\nname = \"boot\"\nkernel = {:?}\ncommand = \"{COMMAND}\"\n\
         [target.vm]\nnum_cpus = 8\nmemory = \"1024M\"\nextra_args = {NODES:?}\n",
        subject.image
    );
    let file = place.root.path().join("vmtest.toml");
    fs::write(&file, config).expect("vmtest's file can be written");
    let tcg = subject.tcg;
    Box::new(move |place| {
        let mut command = place.command("timeout");
        command.args(LIMIT);
        if tcg {
            command.args(["bwrap", "--bind", "/", "/", "--dev", "/dev"]);
        }
        place.until_the_word(command.args(["vmtest", "--config"]).arg(&file))
    })
}

fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A file of that name, one folder below.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path().join(name))
        .find(|path| path.is_file())
}

/// Seconds since 1970, as the stand-in counts them.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs_f64()
}
