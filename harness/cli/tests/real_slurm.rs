//! Trials on a real cluster: a controller of Slurm, munge, and two nodes on this machine, one of which is lost.
//!
//! Ignored by default, because it needs root, Slurm and munge; `cargo xtask test` installs and runs it.

mod made_up;
mod parallel;
mod support;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use made_up::shell;
use parallel::{Bench, counts};
use support::wait_until;

const SOON: Duration = Duration::from_secs(120);
const NODES: [(&str, u16); 2] = [("kv1", 17_901), ("kv2", 17_902)];

/// Slurm on this machine; everything of it ends with the test.
struct Cluster {
    dir: tempfile::TempDir,
    daemons: HashMap<&'static str, Child>,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self {
            // A socket's path is limited to 107 bytes.
            dir: tempfile::Builder::new()
                .prefix("kv-slurm-")
                .tempdir_in("/tmp")
                .unwrap(),
            daemons: HashMap::new(),
        };
        let dir = cluster.dir.path().to_owned();
        for folder in ["munge", "state", "kv1", "kv2"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        shell(
            &dir,
            "chmod 700 munge; head -c 1024 /dev/urandom > munge/key; chmod 400 munge/key",
        );
        fs::write(dir.join("slurm.conf"), configuration(&dir)).unwrap();
        let file = |name: &str| dir.join("munge").join(name).display().to_string();
        cluster.daemon(
            "munged",
            "munged",
            &[
                "--foreground",
                "--force",
                "--key-file",
                &file("key"),
                "--socket",
                &file("socket"),
                "--pid-file",
                &file("pid"),
                "--log-file",
                &file("log"),
                "--seed-file",
                &file("seed"),
            ],
        );
        wait_until(SOON, "munge answers", || dir.join("munge/socket").exists());
        cluster.daemon("slurmctld", "slurmctld", &["-D", "-c"]);
        for (node, _) in NODES {
            cluster.boot(node);
        }
        wait_until(SOON, "both nodes are idle", || {
            cluster.slurm("sinfo", &["--noheader", "-N", "--format=%T"]) == "idle\nidle"
        });
        cluster
    }

    fn daemon(&mut self, name: &'static str, program: &str, arguments: &[&str]) {
        let log = fs::File::create(self.dir.path().join(format!("{name}.log"))).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.conf())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}; `cargo xtask test --install-deps` installs it")
            });
        self.daemons.insert(name, child);
    }

    /// A node is all that runs in a process namespace.
    fn boot(&mut self, node: &'static str) {
        let arguments = [
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "slurmd",
            "-D",
            "-N",
            node,
        ];
        self.daemon(node, "unshare", &arguments);
    }

    /// As if its power failed.
    fn lose(&mut self, node: &str) {
        let mut child = self.daemons.remove(node).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("slurm.conf")
    }

    fn slurm(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.conf())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("slurmctld.log")).unwrap_or_default();
            eprintln!("{log}\n{}", self.slurm("squeue", &["--long"]));
        }
        for name in ["kv1", "kv2", "slurmctld", "munged"] {
            if let Some(mut child) = self.daemons.remove(name) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn configuration(dir: &Path) -> String {
    let host = shell(dir, "hostname -s");
    let (host, dir) = (host.trim(), dir.display());
    let nodes = NODES.map(|(node, port)| {
        format!("NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=32 RealMemory=6000 State=UNKNOWN\n")
    });
    format!(
        "ClusterName=kverdict\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort=17900\nSlurmUser=root\nSlurmdUser=root\n\
         AuthType=auth/munge\nAuthInfo=socket={dir}/munge/socket,cred_expire=5\nCredType=cred/munge\nMpiDefault=none\n\
         StateSaveLocation={dir}/state\nSlurmdSpoolDir={dir}/%n\nSlurmctldPidFile={dir}/ctld.pid\n\
         SlurmdPidFile={dir}/%n.pid\nSlurmdLogFile={dir}/slurmd-%n.log\nProctrackType=proctrack/pgid\n\
         TaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU_Memory\n\
         SlurmdParameters=config_overrides\nReturnToService=2\nSlurmdTimeout=5\nMinJobAge=300\n\
         SchedulerParameters=sched_interval=2\nJobAcctGatherType=jobacct_gather/none\n\
         AccountingStorageType=accounting_storage/none\nKillWait=5\n{}\
         PartitionName=all Nodes=kv1,kv2 Default=YES MaxTime=INFINITE State=UP\n",
        nodes.concat()
    )
}

/// Trials that were begun again because their node was lost are there once, like all others.
#[test]
#[ignore = "needs root, Slurm and munge"]
fn l1_a_lost_node_costs_no_trial_and_gives_none_twice() {
    let mut cluster = Cluster::start();
    let bench = Bench::without_end(12);
    bench.place.write("hang", "");
    let conf = cluster.conf();
    let verify = bench.place.start_with(
        &[
            "verify",
            "campaign.yaml",
            "--json",
            "--executor",
            "slurm",
            "--jobs",
            "8",
            "--slurm-arg=--exclusive=user",
        ],
        &[("SLURM_CONF", conf.to_str().unwrap())],
    );
    // Eight at a time, on both nodes.
    wait_until(SOON, "guests run on both nodes", || {
        let running = cluster.slurm("squeue", &["--noheader", "--states=RUNNING", "--format=%N"]);
        bench.begun().len() == 8 && NODES.iter().all(|(node, _)| running.contains(node))
    });
    let on_lost = cluster.slurm(
        "squeue",
        &["--noheader", "--array", "--nodelist=kv2", "--format=%K"],
    );
    cluster.lose("kv2");
    fs::remove_file(bench.place.path("hang")).unwrap();
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    let report = serde_json::from_slice(&output.stdout).unwrap();

    let records = bench.records();
    let numbers: BTreeSet<u64> = records
        .iter()
        .map(|one| one["number"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (records.len(), numbers),
        (24, (1..=24).collect()),
        "{errors}"
    );
    let folders = fs::read_dir(bench.place.run_dir().join("trials")).unwrap();
    assert_eq!(folders.count(), 24);
    // And the loss was one: what ran there was begun twice.
    let lost = on_lost.lines().count();
    assert!(lost > 0, "nothing ran on the node that was lost");
    assert_eq!(bench.begun().len(), 24 + lost, "{errors}");
    let alone = Bench::without_end(12).verify(&["--jobs", "8"]).1;
    assert_eq!(counts(&report), counts(&alone));
}

/// The leader is killed, and what it had queued with it; the run goes on with what is missing.
#[test]
#[ignore = "needs root, Slurm and munge"]
fn l2_a_killed_leader_goes_on_with_what_is_missing() {
    let cluster = Cluster::start();
    let bench = Bench::without_end(4);
    bench.place.write("hang", "");
    let conf = cluster.conf();
    let environment = [("SLURM_CONF", conf.to_str().unwrap())];
    let slurm = ["--json", "--executor", "slurm", "--jobs", "4"];
    let arguments = [&["verify", "campaign.yaml"], &slurm[..]].concat();
    let mut verify = bench.place.start_with(&arguments, &environment);
    wait_until(SOON, "four guests run", || bench.begun().len() == 4);
    verify.kill().unwrap();
    verify.wait().unwrap();
    fs::remove_file(bench.place.path("hang")).unwrap();
    let trials = bench.place.run_dir().join("trials");
    let finished = || {
        (1..=4).filter(|number| {
            let arm = ["fixed", "unfixed"][number % 2];
            trials
                .join(format!("{number:04}-{arm}/trial.json"))
                .is_file()
        })
    };
    wait_until(SOON, "the nodes finish what was queued", || {
        finished().count() == 4
    });
    let run = bench.place.run_dir();
    let arguments = [&["verify", "--resume", run.to_str().unwrap()], &slurm[..]].concat();
    let output = bench
        .place
        .start_with(&arguments, &environment)
        .wait_with_output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert_eq!(bench.records().len(), 8, "{errors}");
    assert_eq!(bench.begun().len(), 8, "nothing was made twice\n{errors}");
}
