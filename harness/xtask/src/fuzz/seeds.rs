//! What fuzzing begins with: the consoles, samples and files that the tests have, and small archives.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Writes the seeds of a target into its folder, in pieces that are no longer than its inputs.
pub fn write(sh: &Shell, target: &str, bytes_max: usize, folder: &str) -> Result<()> {
    let folder = sh.current_dir().join(folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (number, seed) in of(sh, target)?.iter().enumerate() {
        for (part, piece) in seed.chunks(bytes_max).enumerate() {
            let path = folder.join(format!("seed-{number}-{part}"));
            fs::write(&path, piece).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn of(sh: &Shell, target: &str) -> Result<Vec<Vec<u8>>> {
    match target {
        "console_scanner" => tracked(sh, &["harness/core/tests/logs/*.log"]),
        "yaml" => tracked(sh, &["configs/*.yaml", "kernels/*.yaml"]),
        "texts" => tracked(
            sh,
            &[
                "harness/core/tests/specs/*",
                "kernels/*.patch",
                "kernels/*.config",
            ],
        ),
        "symbols" => {
            let mut seeds = tracked(sh, &["harness/core/tests/vcpus/*.map"])?;
            // An ELF file that every machine has.
            seeds.push(fs::read("/bin/true").context("cannot read /bin/true")?);
            Ok(seeds)
        }
        "qmp_replies" => {
            let texts = tracked(sh, &["harness/core/tests/vcpus/registers-*.txt"])?;
            let replies = texts.iter().map(|text| reply(text));
            let replies: Vec<Vec<u8>> = replies.chain(REPLIES.map(Vec::from)).collect();
            Ok([texts, replies].concat())
        }
        "agent_protocol" => Ok(vec![AGENT.into()]),
        "package_deb" => Ok(vec![tar()?, deb(&tar()?)]),
        "package_rpm" => Ok(vec![rpm(&cpio()?)]),
        "cpio" => Ok(vec![cpio()?]),
        other => unreachable!("the target {other} has no seeds"),
    }
}

/// The tracked files that match.
fn tracked(sh: &Shell, patterns: &[&str]) -> Result<Vec<Vec<u8>>> {
    let list = cmd!(sh, "git ls-files -- {patterns...}").quiet().read()?;
    let paths = list.lines().map(|path| sh.current_dir().join(path));
    let paths: Vec<PathBuf> = paths.collect();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A text as a human monitor's answer.
fn reply(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace('\n', "\\r\\n");
    format!("{{\"return\": \"{text}\"}}\n").into_bytes()
}

const REPLIES: [&str; 4] = [
    r#"{"return": [{"cpu-index": 0, "thread-id": 25627}, {"cpu-index": 1, "thread-id": 25628}]}"#,
    r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#,
    r#"{"error": {"class": "GenericError", "desc": "Invalid addr 0x0000000000000000/size 1 specified"}}"#,
    "{\"return\": \"ffffffff81000000: 0x48 0x8d\\r\\nffffffff81000002: 0xff 0x00\\r\\n\"}",
];

/// One message of each kind.
const AGENT: &str = r#"{"type":"hello","protocol":1,"release":"6.12.117","version":"1 SMP","uptime_ms":1500,"nodes":[{"node":0,"cpus":[0,1],"memory_kib":500000}],"cmdline":"console=ttyS0"}
{"type":"tuned","name":"kernel.numa_balancing","value":"1","error":null}
{"type":"tuned","name":"kernel.nope","value":"1","error":"no such file"}
{"type":"unfit","what":"nodes","expected":"2","found":"1"}
{"type":"armed","detectors":[{"name":"hard-lockup","armed":true,"how":"buddy, watchdog_thresh=10"}],"tracing":true}
{"type":"load-started","uptime_ms":2500,"processes":14,"hugepages":false}
{"type":"heartbeat","seq":0,"uptime_ms":3500,"counters":{"packets":12,"node_busy_percent":[99,1],"numa_hint_faults":5,"swaps":1,"amplifier":{"kv_a":3},"read_at_ms":3400}}
{"type":"heartbeat","seq":1,"uptime_ms":4500,"counters":{"packets":24,"node_busy_percent":[99,1]}}
{"type":"load-failed","reason":"poller 1: killed"}
{"type":"roll-call","silent_cpus":[3,5]}
{"type":"end","uptime_ms":9000}
"#;

/// Files of an archive.
const FILES: [(&str, &[u8]); 3] = [
    ("./boot/vmlinuz-6.1", b"kernel"),
    ("./boot/System.map-6.1", b"ffffffff81000000 T _text\n"),
    ("./usr/share/doc/x", b""),
];

fn tar() -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in FILES {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content)?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    // A name that takes a member of its own.
    let name = "lib/modules/".repeat(12);
    builder.append_link(&mut header, name + "source", "/usr/src")?;
    Ok(builder.into_inner()?)
}

fn deb(tar: &[u8]) -> Vec<u8> {
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("data.tar", tar)] {
        let size = content.len();
        package.extend(format!("{name:<16}{:<32}{size:<10}`\n", 0).bytes());
        package.extend(content);
    }
    package
}

fn cpio() -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, content) in FILES {
        let member = cpio::newc::Builder::new(name).mode(0o100_644).nlink(1);
        let mut writer = member.write(&mut archive, content.len() as u32);
        writer.write_all(content)?;
        writer.finish()?;
    }
    Ok(cpio::newc::trailer(archive)?)
}

/// An rpm of a lead, an empty signature, a header that names a release, and this payload.
fn rpm(payload: &[u8]) -> Vec<u8> {
    const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb];
    lead.resize(96, 0);
    let store = b"514.el7\0";
    let header = [
        MAGIC.to_vec(),
        words(&[1, store.len() as u32]),
        words(&[1002, 6, 0, 1]),
        store.to_vec(),
    ];
    let signature = [MAGIC.to_vec(), words(&[0, 0])];
    [lead, signature.concat(), header.concat(), payload.to_vec()].concat()
}
